/* The env on libuv: clock, randomness, timers, deferred calls, jobs, and the table
 * itself. Files are in env_uv_file.c, streams in env_uv_stream.c.
 *
 * The end of a turn: a prepare handle runs just before the loop would sleep (for what
 * timers and closing handles left behind), a check handle right after it has delivered
 * what woke it. Both run the deferred calls, then flush the written streams, then start
 * the jobs (env_uv_job.c), and again until nothing is left: a turn's requests become one
 * batch, its answers one send.
 *
 * Timers: uv_timer_start counts from the loop's cached time, which is old when a
 * callback has computed for a while; so the loop's time is updated first. The cached
 * clock may be coarser than ours, so a timer that fires before its due time by our
 * clock goes back to sleep for the rest.
 *
 * Handles close asynchronously: timer_free stops at once and frees the memory in the
 * loop's next turn. The env itself lives until its own handles are closed.
 *
 * Invariants
 *   1 a timer's callback never runs before mono_ms() has reached its due time
 *   2 after timer_stop or timer_free returns, the callback does not run */
#include "raftio/env_uv.h"

#include <time.h>

#include "base/assert.h"
#include "base/mem.h"
#include "raftio/env_uv_impl.h"

static uint64_t mono_ns(struct env *env)
{
    (void)env;
    return uv_hrtime();
}

static uint64_t mono_ms(struct env *env)
{
    (void)env;
    return uv_hrtime() / 1000000;
}

static uint64_t wall_ms(struct env *env)
{
    (void)env;
    struct timespec ts;
    int rc = clock_gettime(CLOCK_REALTIME, &ts);
    ASSERT(rc == 0);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void random_bytes(struct env *env, void *out, size_t len)
{
    (void)env;
    /* Ids and nonces rest on this: without randomness nothing may go on. */
    int rc = uv_random(NULL, NULL, out, len, 0, NULL);
    ASSERT(rc == 0);
}

/* ---- Timers ------------------------------------------------------------- */

struct env_timer {
    uv_timer_t uv;
    uint64_t due_ms;
    void (*cb)(void *arg);
    void *arg;
};

static struct env_timer *timer_new(struct env *env, void (*cb)(void *arg), void *arg)
{
    struct env_uv *u = (struct env_uv *)env;
    struct env_timer *t = mem_must_alloc(sizeof *t);
    *t = (struct env_timer){ .cb = cb, .arg = arg };
    int rc = uv_timer_init(u->loop, &t->uv);
    ASSERT(rc == 0);
    t->uv.data = t;
    return t;
}

static void timer_fired(uv_timer_t *uv)
{
    struct env_timer *t = uv->data;
    uint64_t now = mono_ms(NULL);
    if (now < t->due_ms) {
        int rc = uv_timer_start(uv, timer_fired, t->due_ms - now, 0);
        ASSERT(rc == 0);
        return;
    }
    t->cb(t->arg);
}

static void timer_start(struct env_timer *t, uint64_t after_ms)
{
    t->due_ms = mono_ms(NULL) + after_ms;
    uv_update_time(t->uv.loop);
    int rc = uv_timer_start(&t->uv, timer_fired, after_ms, 0);
    ASSERT(rc == 0);
}

static void timer_stop(struct env_timer *t) { (void)uv_timer_stop(&t->uv); }

static void timer_closed(uv_handle_t *h) { mem_free(h->data); }

static void timer_free(struct env_timer *t)
{
    if (t != NULL) {
        uv_close((uv_handle_t *)&t->uv, timer_closed);
    }
}

/* ---- The end of a turn -------------------------------------------------- */

static void defer(struct env *env, struct env_defer *d)
{
    struct env_uv *u = (struct env_uv *)env;
    if (d->pending) {
        return;
    }
    if (u->defer_head == NULL) {
        /* A loop with nothing else to do must not end before this has run. */
        uv_ref((uv_handle_t *)&u->prepare);
    }
    d->pending = true;
    d->next = NULL;
    *u->defer_tail = d;
    u->defer_tail = &d->next;
}

static void undefer(struct env *env, struct env_defer *d)
{
    struct env_uv *u = (struct env_uv *)env;
    if (!d->pending) {
        return;
    }
    struct env_defer **at = &u->defer_head;
    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
    if (u->defer_tail == &d->next) {
        u->defer_tail = at;
    }
    d->pending = false;
}

static void turn_end(struct env_uv *u)
{
    while (u->defer_head != NULL || u->dirty != NULL || u->jobs_head != NULL) {
        struct env_defer *d = u->defer_head;
        if (d != NULL) {
            undefer(&u->env, d);
            d->cb(d->arg);
        } else if (u->dirty != NULL) {
            env_uv_flush(u);
        } else {
            env_uv_jobs_start(u);
        }
    }
    uv_unref((uv_handle_t *)&u->prepare);
    env_uv_jobs_idle(u);
}

static void on_prepare(uv_prepare_t *h) { turn_end(h->data); }
static void on_check(uv_check_t *h) { turn_end(h->data); }

/* ---- The env ------------------------------------------------------------ */

static const struct env_ops ops = {
    .mono_ms = mono_ms,
    .mono_ns = mono_ns,
    .wall_ms = wall_ms,
    .random = random_bytes,
    .timer_new = timer_new,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .timer_free = timer_free,
    .defer = defer,
    .undefer = undefer,
    .job = env_uv_job,
    .rest = env_uv_rest,
    .file_open = env_uv_file_open,
    .file_close = env_uv_file_close,
    .file_read = env_uv_file_read,
    .file_write = env_uv_file_write,
    .file_sync = env_uv_file_sync,
    .file_size = env_uv_file_size,
    .file_truncate = env_uv_file_truncate,
    .file_allocate = env_uv_file_allocate,
    .file_lock = env_uv_file_lock,
    .rename = env_uv_rename,
    .remove = env_uv_remove,
    .make_dir = env_uv_make_dir,
    .sync_dir = env_uv_sync_dir,
    .list_dir = env_uv_list_dir,
    .free_bytes = env_uv_free_bytes,
    .connect = env_uv_connect,
    .stream_start = env_uv_stream_start,
    .stream_write = env_uv_stream_write,
    .stream_queued = env_uv_stream_queued,
    .stream_close = env_uv_stream_close,
};

int env_uv_new(uv_loop_t *loop, struct env **out, struct error *e)
{
    struct env_uv *u = mem_zalloc(sizeof *u);
    char *buffer = mem_alloc(READ_BYTES);
    if (u == NULL || buffer == NULL) {
        mem_free(u);
        mem_free(buffer);
        return error_set(e, ERR_NOMEM, "no memory for the event loop's buffers");
    }
    u->env.ops = &ops;
    u->loop = loop;
    u->defer_tail = &u->defer_head;
    u->read_buffer = buffer;
    if (env_uv_jobs_open(u) != 0) {
        mem_free(u);
        mem_free(buffer);
        return error_set(e, ERR_IO, "no descriptor for the event loop's workers");
    }
    /* These cannot fail: no descriptor is involved. They hold no reference, so that
     * the loop ends when only they are left. */
    int rc = uv_prepare_init(loop, &u->prepare) | uv_prepare_start(&u->prepare, on_prepare) |
             uv_check_init(loop, &u->check) | uv_check_start(&u->check, on_check);
    ASSERT(rc == 0);
    u->handles = 3;
    u->prepare.data = u;
    u->check.data = u;
    uv_unref((uv_handle_t *)&u->prepare);
    uv_unref((uv_handle_t *)&u->check);
    *out = &u->env;
    return 0;
}

void env_uv_handle_closed(uv_handle_t *h)
{
    struct env_uv *u = h->data;
    if (--u->handles == 0) {
        mem_free(u->read_buffer);
        mem_free(u);
    }
}

void env_uv_free(struct env *env)
{
    if (env == NULL) {
        return;
    }
    struct env_uv *u = (struct env_uv *)env;
    ASSERT(u->dirty == NULL && u->defer_head == NULL);
    env_uv_jobs_close(u);
    env_uv_write_close(u);
    uv_close((uv_handle_t *)&u->prepare, env_uv_handle_closed);
    uv_close((uv_handle_t *)&u->check, env_uv_handle_closed);
    uv_close((uv_handle_t *)&u->async, env_uv_handle_closed);
}
