/* A loop and a real env for programs that read and write files of stopped nodes. */
#ifndef USHER_CONSOLE_OFFLINE_H
#define USHER_CONSOLE_OFFLINE_H

#include <uv.h>

#include "base/env.h"

struct offline {
    uv_loop_t loop;
    struct env *env;
    bool done; /* offline_done() was called */
};

int offline_open(struct offline *o, struct error *e);
void offline_run(struct offline *o); /* until offline_done(o) */
void offline_done(void *arg);
void offline_close(struct offline *o);

#endif
