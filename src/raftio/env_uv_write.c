/* Durable writes of the libuv env without a worker: Linux's asynchronous I/O (libaio).
 *
 *   jobs start: io_submit(O_DIRECT, RWF_DSYNC, RWF_NOWAIT)      loop
 *      disk: write, flush
 *   eventfd readable: io_getevents -> status, done()            loop
 *
 * A commit waits for one such write on the way to a majority. By a worker it costs two thread
 * switches, which a machine with few, sleeping cores pays for dearly, and the page cache's work.
 *
 * The loop should not block, so the kernel is told to give up instead (RWF_NOWAIT: EAGAIN, for
 * example where the file has no block yet or a page in the cache). Then, and wherever the
 * kernel or the file system cannot do it at all, a worker runs the job as if we were not here.
 * Any other error is the write's result: nothing is tried again.
 *
 * What NOWAIT does not cover: a file system that is being frozen (fsfreeze, a volume's snapshot)
 * holds up every submission until it is thawed, and ext4 may have to wait for its own journal
 * to note the file's new time. A submission that took long makes workers write for a while. */
#include <errno.h>
#include <libaio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "raftio/env_uv_impl.h"

#define WRITES_MAX    8
/* So many refusals in a row, and no more is asked for this file: XFS refuses whatever changes
 * the file's time. */
#define LATER_MAX     8
/* Longer than a submission takes that did not wait for something; and how long workers write
 * after one that did. */
#define SLOW_NS       (UINT64_C(10) * 1000000)
#define SLOW_PAUSE_NS (UINT64_C(1000) * 1000000)

/* What env_job.impl holds while the kernel has the job. */
struct async_write {
    struct iocb cb; /* data: the job */
    struct iovec part;
};

_Static_assert(sizeof(struct async_write) <= sizeof((struct env_job *)0)->impl,
               "env_job.impl holds an async_write");

static bool is_aligned(const struct env_write *w)
{
    return ((w->at | w->len | (uintptr_t)w->data) & (ENV_BLOCK_BYTES - 1)) == 0;
}

/* Whether a worker can do what was refused like this. */
static bool refused(struct env_file *f, int err)
{
    if (err == EAGAIN && ++f->direct_later < LATER_MAX) {
        return true;
    }
    if (err != EAGAIN && err != EOPNOTSUPP && err != EINVAL && err != ENOSYS) {
        return false;
    }
    atomic_store_explicit(&f->direct_cannot, true, memory_order_relaxed);
    return true;
}

static void ended(struct env_uv *u, struct env_job *job, long res)
{
    struct env_write *w = job->write;
    if (res < 0 && refused(w->file, (int)-res)) {
        env_uv_job_by_worker(u, job);
        return;
    }
    w->file->direct_later = 0;
    w->status = res == (long)w->len ? 0
                                    : env_uv_sys_error(&w->error, "write and sync", w->file->path,
                                                       res < 0 ? (int)-res : EIO);
    env_uv_job_finish(u, job);
}

static void on_writes(uv_poll_t *poll, int status, int events)
{
    struct env_uv *u = poll->data;
    struct io_event done[WRITES_MAX];
    struct timespec now = { 0 };
    uint64_t count;
    (void)status;
    (void)events;
    if (read(u->writes_fd, &count, sizeof count) < 0) {
        return; /* EAGAIN: others have been here */
    }
    int n = io_getevents(u->writes, 0, WRITES_MAX, done, &now);
    ASSERT(n >= 0 || n == -EINTR);
    if (n == -EINTR) {
        uint64_t again = 1; /* come back for them */
        ssize_t put = write(u->writes_fd, &again, sizeof again);
        ASSERT(put == (ssize_t)sizeof again);
        return;
    }
    for (int i = 0; i < n; i++) {
        ASSERT(u->writes_out > 0);
        if (--u->writes_out == 0) {
            uv_unref((uv_handle_t *)&u->writes_poll);
        }
        ended(u, done[i].data, (long)done[i].res);
    }
}

static bool open_poll(struct env_uv *u)
{
    u->writes_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (u->writes_fd < 0) {
        return false;
    }
    if (uv_poll_init(u->loop, &u->writes_poll, u->writes_fd) != 0) {
        (void)close(u->writes_fd);
        return false;
    }
    u->writes_poll.data = u;
    u->handles++;
    int rc = uv_poll_start(&u->writes_poll, UV_READABLE, on_writes);
    ASSERT(rc == 0);
    uv_unref((uv_handle_t *)&u->writes_poll);
    return true;
}

static bool is_ready(struct env_uv *u)
{
    if (u->writes_state == WRITES_NONE) {
        u->writes_state = WRITES_FAILED;
        if (io_setup(WRITES_MAX, &u->writes) == 0) {
            if (open_poll(u)) {
                u->writes_state = WRITES_READY;
            } else {
                (void)io_destroy(u->writes);
            }
        }
    }
    return u->writes_state == WRITES_READY;
}

static bool may_start(struct env_uv *u, const struct env_write *w)
{
    return w->file->direct_fd >= 0 && is_aligned(w) && u->writes_out < WRITES_MAX &&
           !atomic_load_explicit(&w->file->direct_cannot, memory_order_relaxed) && is_ready(u) &&
           uv_hrtime() >= u->writes_pause_ns;
}

bool env_uv_write_start(struct env_uv *u, struct env_job *job)
{
    struct env_write *w = job->write;
    if (!may_start(u, w)) {
        return false;
    }
    struct async_write *a = (struct async_write *)(void *)job->impl;
    struct iocb *cb = &a->cb;
    a->part = (struct iovec){ (void *)(uintptr_t)w->data, w->len };
    io_prep_pwritev2(cb, w->file->direct_fd, &a->part, 1, (long long)w->at, RWF_DSYNC | RWF_NOWAIT);
    io_set_eventfd(cb, u->writes_fd);
    cb->data = job;
    uint64_t began_ns = uv_hrtime();
    int rc = io_submit(u->writes, 1, &cb);
    uint64_t now_ns = uv_hrtime();
    if (now_ns - began_ns > SLOW_NS) {
        u->writes_pause_ns = now_ns + SLOW_PAUSE_NS;
    }
    if (rc != 1) {
        (void)refused(w->file, -rc);
        return false;
    }
    if (u->writes_out++ == 0) {
        uv_ref((uv_handle_t *)&u->writes_poll);
    }
    return true;
}

void env_uv_write_close(struct env_uv *u)
{
    ASSERT(u->writes_out == 0);
    if (u->writes_state == WRITES_READY) {
        (void)io_destroy(u->writes);
        (void)uv_poll_stop(&u->writes_poll);
        (void)close(u->writes_fd);
        uv_close((uv_handle_t *)&u->writes_poll, env_uv_handle_closed);
    }
}
