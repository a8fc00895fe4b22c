/* Writes a file and reads it back asynchronously, and says who served it. */
#include <aio_shim.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static ssize_t finish(struct aiocb *request)
{
	const struct aiocb *list[1] = { request };

	while (aio_error(request) == EINPROGRESS)
		aio_suspend(list, 1, NULL);
	return aio_return(request);
}

int main(void)
{
	char out[] = "written asynchronously", in[sizeof out] = "";
	FILE *file = tmpfile();
	struct aiocb request;

	if (!file)
		return 1;
	memset(&request, 0, sizeof request);
	request.aio_fildes = fileno(file);
	request.aio_nbytes = sizeof out;
	request.aio_sigevent.sigev_notify = SIGEV_NONE;
	request.aio_buf = out;
	if (aio_write(&request) || finish(&request) != sizeof out)
		return 1;
	request.aio_buf = in;
	if (aio_read(&request) || finish(&request) != sizeof in)
		return 1;
	printf("%s, by aio_shim %s\n", in, aio_shim_version());
	return strcmp(in, out) != 0;
}
