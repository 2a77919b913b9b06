/* The real env (base/env.h) on libuv: files on the worker pool, TCP, timers. */
#ifndef USHER_RAFTIO_ENV_UV_H
#define USHER_RAFTIO_ENV_UV_H

#include <uv.h>

#include "base/env.h"

/* The env is owned by the caller through env_uv_free, which must come after every
 * timer, job, file and stream of it has ended. */
int env_uv_new(uv_loop_t *loop, struct env **out, struct error *e);
void env_uv_free(struct env *env);
/* Wraps a connected socket (from the listener). On error the caller still owns fd. */
int env_uv_adopt(struct env *env, int fd, struct env_stream **out, struct error *e);

#endif
