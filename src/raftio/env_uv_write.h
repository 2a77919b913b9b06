/* Durable writes without a worker, and what they share with env_uv_file.c. */
#ifndef USHER_RAFTIO_ENV_UV_WRITE_H
#define USHER_RAFTIO_ENV_UV_WRITE_H

#include "raftio/env_uv_impl.h"

struct env_file {
    int fd;
    int direct_fd;             /* O_DIRECT; -1: none */
    atomic_bool direct_cannot; /* it was refused: a worker writes */
    unsigned direct_later;     /* refused so many times in a row, perhaps only now (EAGAIN) */
    char path[];
};

/* Fills e from the system's error number; returns the code. */
int env_uv_sys_error(struct error *e, const char *what, const char *path, int err);

/* Starts job->write; false: it cannot be done so, and a worker must run the job. */
bool env_uv_write_start(struct env_uv *u, struct env_job *job);
void env_uv_write_close(struct env_uv *u);

#endif
