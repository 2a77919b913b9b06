/* See offline.h. */
#include "console/offline.h"

#include "base/log.h"
#include "raftio/env_uv.h"

int offline_open(struct offline *o, struct error *e)
{
    *o = (struct offline){ 0 };
    log_set_level(LOG_ERROR); /* what is found and done is the answer */
    if (uv_loop_init(&o->loop) != 0) {
        return error_set(e, ERR_INTERNAL, "cannot make an event loop");
    }
    int rc = env_uv_new(&o->loop, &o->env, e);
    if (rc != 0) {
        (void)uv_loop_close(&o->loop);
    }
    return rc;
}

void offline_done(void *arg)
{
    struct offline *o = arg;
    o->done = true;
    uv_stop(&o->loop);
}

void offline_run(struct offline *o)
{
    while (!o->done) {
        (void)uv_run(&o->loop, UV_RUN_DEFAULT);
    }
}

void offline_close(struct offline *o)
{
    env_uv_free(o->env);
    (void)uv_run(&o->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&o->loop);
}
