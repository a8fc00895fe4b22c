# SPDX-License-Identifier: MIT OR Apache-2.0
"""Open MPI and MPICH: nonblocking file access of both runs on aio_read and aio_write, with zeroed sigevents."""
from place import HERE, Case

NAME = "mpi"
RANKS = "2"


def check(output, work):
    if f"mpi_io: {RANKS} ranks, 4 rounds, 0 bytes wrong" not in output:
        return "the program's last line is missing"


def cases(place):
    # The launchers get the preload as an option for their ranks, so that it is not in the launcher itself.
    place.need_programs("mpicc.openmpi", "mpirun.openmpi", package="libopenmpi-dev openmpi-bin")
    program = place.build("mpi-openmpi", [HERE / "mpi_io.c"], compiler=["mpicc.openmpi"])

    def openmpi(preload, program=program):
        forward = [word for k, v in preload.items() for word in ("-x", f"{k}={v}")]
        return ["mpirun.openmpi", "--oversubscribe", "--mca", "btl", "self,vader", "--mca", "io", "ompio",
                *forward, "-n", RANKS, program]

    yield Case("mpi/openmpi", openmpi, check,
               environment={"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})

    place.need_programs("mpicc.mpich", "mpiexec.mpich", package="libmpich-dev mpich")
    program = place.build("mpi-mpich", [HERE / "mpi_io.c"], compiler=["mpicc.mpich"])

    def mpich(preload, program=program):
        forward = [word for k, v in preload.items() for word in ("-genv", k, v)]
        return ["mpiexec.mpich", *forward, "-n", RANKS, program]

    yield Case("mpi/mpich", mpich, check)
