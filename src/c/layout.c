/* Compiled by build.rs against the system's <aio.h>: a layout that differs
 * from src/abi.rs stops the build. */
#define _GNU_SOURCE
#include <aio.h>
#include <signal.h>
#include <stddef.h>

#define AT(member, offset) \
    _Static_assert(offsetof(struct aiocb, member) == (offset), "struct aiocb: " #member)

AT(aio_fildes, 0);
AT(aio_lio_opcode, 4);
AT(aio_reqprio, 8);
AT(aio_buf, 16);
AT(aio_nbytes, 24);
AT(aio_sigevent, 32);
#ifdef __GLIBC__
AT(__next_prio, 96);
AT(__error_code, 112);
AT(__return_value, 120);
_Static_assert(sizeof(((struct aiocb *)0)->__glibc_reserved) == 32, "reserved bytes");
#endif
AT(aio_offset, 128);
_Static_assert(sizeof(struct aiocb) == 168, "struct aiocb");
_Static_assert(sizeof(struct aiocb64) == 168, "struct aiocb64");
_Static_assert(_Alignof(struct aiocb) == 8, "alignment of struct aiocb");
_Static_assert(sizeof(struct sigevent) == 64, "struct sigevent");
_Static_assert(offsetof(struct sigevent, sigev_value) == 0, "sigev_value");
_Static_assert(offsetof(struct sigevent, sigev_signo) == 8, "sigev_signo");
_Static_assert(offsetof(struct sigevent, sigev_notify) == 12, "sigev_notify");
_Static_assert(offsetof(struct sigevent, sigev_notify_function) == 16, "sigev_notify_function");
_Static_assert(offsetof(struct sigevent, sigev_notify_attributes) == 24, "sigev_notify_attributes");
_Static_assert(sizeof(struct aioinit) == 32, "struct aioinit");
_Static_assert(offsetof(struct aioinit, aio_threads) == 0, "aio_threads");
_Static_assert(offsetof(struct aioinit, aio_idle_time) == 24, "aio_idle_time");
_Static_assert(AIO_CANCELED == 0 && AIO_NOTCANCELED == 1 && AIO_ALLDONE == 2, "aio_cancel");
_Static_assert(LIO_READ == 0 && LIO_WRITE == 1 && LIO_NOP == 2, "lio opcodes");
_Static_assert(LIO_WAIT == 0 && LIO_NOWAIT == 1, "lio modes");
