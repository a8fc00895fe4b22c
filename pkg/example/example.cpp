// The header from C++: reads from /dev/zero into a vector.
#include <aio_shim.h>
#include <cstdio>
#include <fcntl.h>
#include <vector>

int main()
{
	std::vector<char> buffer(512, 'x');
	struct aiocb request = {};
	struct aiocb *done = nullptr;

	request.aio_fildes = open("/dev/zero", O_RDONLY);
	request.aio_buf = buffer.data();
	request.aio_nbytes = buffer.size();
	request.aio_sigevent.sigev_notify = SIGEV_NONE;
	if (aio_read(&request) || aio_waitcomplete(&done, nullptr) != 512 || done != &request)
		return 1;
	std::printf("%zu zeros, by aio_shim %s\n", buffer.size(), aio_shim_version());
	return buffer[0] != 0 || buffer[511] != 0;
}
