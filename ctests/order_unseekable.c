/* order_unseekable.c - regular files that have no positions. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gate.h"

/* A regular file without positions (FUSE and tracefs have them): pread(2) says ESPIPE, so it is read and written in call
 * order where it stands. */
CASE(8, a_file_that_cannot_seek, GLIBC_OK | NEEDS_ROOT, 20)
{
    enum { PIECES = 4, PIECE = 512 };
    struct gate *gate = gate_start();
    atomic_store(&gate->no_positions[1], true);
    int out = gate_open(1, O_WRONLY), in = gate_open(1, O_RDONLY);
    SETUP(lseek(out, 0, SEEK_CUR) == -1 && errno == ESPIPE);
    static unsigned char data[2][PIECES][PIECE];
    struct aiocb cbs[PIECES];
    pattern_fill(data[0], sizeof data[0], 0, 21);
    int held = gate_hold(gate, GATE_WRITE, 1, 0, PIECE);
    for (int i = 0; i < PIECES; i++) {
        cbs[i] = request(out, data[0][i], PIECE, (PIECES - i) * 4096);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    WAIT_FOR(gate_arrived(gate, GATE_WRITE, 1, 0, GATE_BYTES) == 1);
    sleep_ms(50);
    CHECK_EQ(gate_arrived(gate, GATE_WRITE, 1, 0, GATE_BYTES), 1);
    gate_release(gate, held);
    for (int i = 0; i < PIECES; i++)
        CHECK_DONE(&cbs[i], PIECE);
    CHECK_EQ(pattern_wrong(gate->data[1], sizeof data[0], 0, 21), -1);
    for (int i = 0; i < PIECES; i++) {
        cbs[i] = request(in, data[1][i], PIECE, (PIECES - i) * 4096);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < PIECES; i++)
        CHECK_DONE(&cbs[i], PIECE);
    CHECK_EQ(pattern_wrong(data[1], sizeof data[1], 0, 21), -1);
}
