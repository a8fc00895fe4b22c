// SPDX-License-Identifier: MIT OR Apache-2.0
// ACE's proactors over POSIX AIO: AIOCB sleeps in aio_suspend() over a list that other threads change, SIG collects
// real-time signals. Both keep a read of a pipe of their own waiting all the time.
// A file is copied with several requests on the way, then streamed through a socket pair; all of it is checked.
#include <ace/Asynch_IO.h>
#include <ace/Message_Block.h>
#include <ace/POSIX_Proactor.h>
#include <ace/Proactor.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static const size_t BLOCK = 8192, BLOCKS = 512, AT_ONCE = 16;

static char pattern(size_t offset)
{
    return (char)(offset % 251);
}

static void check(bool good, const char *what)
{
    if (!good) {
        std::perror(what);
        std::exit(1);
    }
}

// Reads block after block and writes each to its place in the other file.
class Copy : public ACE_Handler {
public:
    Copy(ACE_Proactor &proactor, ACE_HANDLE from, ACE_HANDLE to) : ACE_Handler(&proactor)
    {
        check(reader_.open(*this, from, 0, &proactor) == 0, "open reader");
        check(writer_.open(*this, to, 0, &proactor) == 0, "open writer");
        for (size_t i = 0; i < AT_ONCE; i++)
            read_next();
    }

    bool done() const { return written_ == BLOCKS; }

    void handle_read_file(const ACE_Asynch_Read_File::Result &result) override
    {
        check(result.success() && result.bytes_transferred() == BLOCK, "read");
        check(writer_.write(result.message_block(), BLOCK, result.offset()) == 0, "start write");
    }

    void handle_write_file(const ACE_Asynch_Write_File::Result &result) override
    {
        check(result.success() && result.bytes_transferred() == BLOCK, "write");
        result.message_block().release();
        written_++;
        read_next();
    }

private:
    void read_next()
    {
        if (next_ == BLOCKS)
            return;
        ACE_Message_Block *block = new ACE_Message_Block(BLOCK);
        check(reader_.read(*block, BLOCK, next_++ * BLOCK) == 0, "start read");
    }

    ACE_Asynch_Read_File reader_;
    ACE_Asynch_Write_File writer_;
    size_t next_ = 0, written_ = 0;
};

// Writes a stream into one end of a socket pair while the other end reads it: both directions wait now and then.
class Stream : public ACE_Handler {
public:
    Stream(ACE_Proactor &proactor, ACE_HANDLE in, ACE_HANDLE out) : ACE_Handler(&proactor), block_(BLOCK), part_(3000)
    {
        check(reader_.open(*this, in, 0, &proactor) == 0, "open stream reader");
        check(writer_.open(*this, out, 0, &proactor) == 0, "open stream writer");
        check(reader_.read(part_, 3000) == 0, "start stream read"); // nothing is there yet
        write_next();
    }

    bool done() const { return got_ == BLOCKS * BLOCK; }

    void handle_write_stream(const ACE_Asynch_Write_Stream::Result &result) override
    {
        check(result.success() && result.bytes_transferred() > 0, "stream write");
        sent_ += result.bytes_transferred();
        write_next();
    }

    void handle_read_stream(const ACE_Asynch_Read_Stream::Result &result) override
    {
        check(result.success() && result.bytes_transferred() > 0, "stream read");
        for (char *byte = part_.rd_ptr(); byte < part_.wr_ptr(); byte++)
            check(*byte == pattern(got_++), "data of the stream");
        part_.reset();
        if (!done())
            check(reader_.read(part_, 3000) == 0, "start stream read");
    }

private:
    void write_next()
    {
        if (sent_ == BLOCKS * BLOCK)
            return;
        block_.reset();
        for (size_t i = 0; i < BLOCK && sent_ + i < BLOCKS * BLOCK; i++)
            *block_.wr_ptr() = pattern(sent_ + i), block_.wr_ptr(1);
        check(writer_.write(block_, block_.length()) == 0, "start stream write");
    }

    ACE_Asynch_Read_Stream reader_;
    ACE_Asynch_Write_Stream writer_;
    ACE_Message_Block block_, part_;
    size_t sent_ = 0, got_ = 0;
};

static int temporary_file()
{
    char name[] = "ace-XXXXXX";
    int fd = mkstemp(name);
    check(fd >= 0, name);
    unlink(name);
    return fd;
}

int main(int argc, char **argv)
{
    check(argc == 2, "usage: ace_proactor aiocb|sig");
    alarm(50);
    static char content[BLOCKS * BLOCK];
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = pattern(i);
    int from = temporary_file(), to = temporary_file(), pair[2];
    check(write(from, content, sizeof content) == (ssize_t)sizeof content, "write");
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");

    ACE_POSIX_Proactor *implementation = std::strcmp(argv[1], "sig") == 0
        ? static_cast<ACE_POSIX_Proactor *>(new ACE_POSIX_SIG_Proactor)
        : static_cast<ACE_POSIX_Proactor *>(new ACE_POSIX_AIOCB_Proactor);
    ACE_Proactor proactor(implementation, true);

    Copy copy(proactor, from, to);
    Stream stream(proactor, pair[0], pair[1]);
    while (!copy.done() || !stream.done()) {
        ACE_Time_Value patience(20);
        check(proactor.handle_events(patience) > 0, "handle_events");
    }

    static char copied[BLOCKS * BLOCK];
    check(pread(to, copied, sizeof copied, 0) == (ssize_t)sizeof copied, "pread");
    bool right = std::memcmp(content, copied, sizeof content) == 0;
    std::printf("ace_proactor %s: %zu blocks copied %s, %zu bytes streamed\n", argv[1], BLOCKS,
                right ? "right" : "WRONG", BLOCKS * BLOCK);
    std::fflush(stdout);
    _exit(right ? 0 : 1); // the proactor's destructor would wait for its own pipe
}
