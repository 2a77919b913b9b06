/* The real env (base/env.h) on libuv: files on the worker pool, TCP, timers. */
#ifndef USHER_RAFTIO_ENV_UV_H
#define USHER_RAFTIO_ENV_UV_H

#include <uv.h>

#include "base/env.h"

int env_uv_new(uv_loop_t *loop, struct env **out, struct error *e);
/* cb runs once, at the end of the first turn that leaves no job out: this one if there is none
 * now. One at a time. */
void env_uv_when_idle(struct env *env, void (*cb)(void *arg), void *arg);
/* Must come after every timer, job, file, connect and stream of it has ended. The loop
 * must run once more (uv_run(loop, UV_RUN_DEFAULT)) before uv_loop_close: handles close
 * on the loop, and the env's memory goes with the last of them. */
void env_uv_free(struct env *env);
/* Wraps a connected socket (from the listener). On error the caller still owns fd. */
int env_uv_adopt(struct env *env, int fd, struct env_stream **out, struct error *e);

#endif
