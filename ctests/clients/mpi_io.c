/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Nonblocking MPI-IO, which Open MPI (ompio) and MPICH (ROMIO) do by aio_write() and aio_read(): every rank
 * writes its blocks of a shared file, then reads and checks those of the next rank. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 32 * 1024, BLOCKS = 64, ROUNDS = 4 };

static unsigned char pattern(int owner, int round, int block, int byte)
{
    return (unsigned char)((owner * 7 + round * 31 + block * 13 + byte) % 251);
}

static void check(int result, const char *what)
{
    if (result != MPI_SUCCESS) {
        char text[MPI_MAX_ERROR_STRING];
        int length;
        MPI_Error_string(result, text, &length);
        fprintf(stderr, "%s: %s\n", what, text);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

static void wait_all(MPI_Request *requests)
{
    MPI_Status status[BLOCKS];
    check(MPI_Waitall(BLOCKS, requests, status), "MPI_Waitall");
    for (int i = 0; i < BLOCKS; i++) {
        int count;
        MPI_Get_count(&status[i], MPI_BYTE, &count);
        if (count != BLOCK) {
            fprintf(stderr, "a request of %d bytes moved %d\n", BLOCK, count);
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
    }
}

int main(int argc, char **argv)
{
    static unsigned char buffer[BLOCKS][BLOCK];
    MPI_Request requests[BLOCKS];
    int rank, ranks, wrong = 0, all_wrong = 0;
    MPI_File file;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    check(MPI_File_open(MPI_COMM_WORLD, "shared", MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file), "open");

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            for (int k = 0; k < BLOCK; k++)
                buffer[i][k] = pattern(rank, round, i, k);
            MPI_Offset offset = ((MPI_Offset)i * ranks + rank) * BLOCK;
            check(MPI_File_iwrite_at(file, offset, buffer[i], BLOCK, MPI_BYTE, &requests[i]), "iwrite");
        }
        wait_all(requests);
        check(MPI_File_sync(file), "sync");
        MPI_Barrier(MPI_COMM_WORLD);

        int owner = (rank + 1) % ranks;
        memset(buffer, 0xff, sizeof buffer);
        for (int i = 0; i < BLOCKS; i++) {
            MPI_Offset offset = ((MPI_Offset)i * ranks + owner) * BLOCK;
            check(MPI_File_iread_at(file, offset, buffer[i], BLOCK, MPI_BYTE, &requests[i]), "iread");
        }
        wait_all(requests);
        for (int i = 0; i < BLOCKS; i++)
            for (int k = 0; k < BLOCK; k++)
                wrong += buffer[i][k] != pattern(owner, round, i, k);
        MPI_Barrier(MPI_COMM_WORLD);
    }

    MPI_File_close(&file);
    MPI_Reduce(&wrong, &all_wrong, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0)
        printf("mpi_io: %d ranks, %d rounds, %d bytes wrong\n", ranks, ROUNDS, all_wrong);
    MPI_Finalize();
    return rank == 0 && all_wrong != 0;
}
