// SPDX-License-Identifier: MIT OR Apache-2.0
// XRootD's client library on a local file: its reads, writes and syncs are aio_read, aio_write and aio_fsync, each with
// SIGEV_THREAD, and the callback frees the control block. Every request is answered once, with the right bytes.
#include <XrdCl/XrdClFile.hh>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

namespace {

constexpr unsigned requests = 256, bytes = 64 << 10, rounds = 8;

class Answers : public XrdCl::ResponseHandler {
public:
    void HandleResponse(XrdCl::XRootDStatus *status, XrdCl::AnyObject *response) override
    {
        XrdCl::ChunkInfo *chunk = nullptr;
        if (response)
            response->Get(chunk);
        std::lock_guard<std::mutex> guard(lock);
        failed += !status->IsOK();
        if (chunk)
            length += chunk->length;
        delete status;
        delete response;
        if (++answered == expected)
            all.notify_one();
    }

    void await(unsigned number)
    {
        std::unique_lock<std::mutex> guard(lock);
        expected = number;
        all.wait(guard, [&] { return answered == number; });
        answered = 0;
        expected = 0;
    }

    unsigned long failed = 0, length = 0;

private:
    std::mutex lock;
    std::condition_variable all;
    unsigned answered = 0, expected = 0;
};

void must(const XrdCl::XRootDStatus &status, const char *what)
{
    if (!status.IsOK()) {
        std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
        std::exit(1);
    }
}

} // namespace

int main()
{
    char folder[4096];
    if (!realpath(".", folder))
        return 1;
    XrdCl::File file;
    must(file.Open(std::string("file://localhost") + folder + "/local", XrdCl::OpenFlags::Delete | XrdCl::OpenFlags::Update), "open");
    std::vector<unsigned char> written(requests * bytes), read(written.size());
    unsigned long wrong = 0;
    Answers answers;
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < written.size(); i++)
            written[i] = (unsigned char)(i >> 8 ^ i * 31 ^ round * 101);
        for (unsigned i = 0; i < requests; i++)
            must(file.Write((uint64_t)i * bytes, bytes, &written[(size_t)i * bytes], &answers), "write");
        must(file.Sync(&answers), "sync");
        answers.await(requests + 1);
        for (unsigned i = 0; i < requests; i++)
            must(file.Read((uint64_t)i * bytes, bytes, &read[(size_t)i * bytes], &answers), "read");
        answers.await(requests);
        for (size_t i = 0; i < written.size(); i++)
            wrong += read[i] != written[i];
    }
    must(file.Close(), "close");
    wrong += answers.failed + (answers.length != (unsigned long)rounds * requests * bytes);
    std::printf("xrootd_local: %u rounds of %u requests, %lu wrong\n", rounds, requests, wrong);
}
