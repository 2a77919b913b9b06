/* Jobs of the libuv env: blocking work off the loop.
 *
 *   env job() -> list -> end of the turn, behind the streams' sends -> worker
 *
 * A job starts after what was written to streams in the same turn has been sent: a leader's
 * entry is on its way to the followers before its own disk is asked, which is the longer way.
 *
 * A job that is one durable write needs no worker where the system writes asynchronously
 * (env_uv_write.c). Workers are libuv's pool, but for one job at a time that is marked urgent
 * (the journal's large writes and votes): that has a thread of its own. The pool's threads meet
 * on a mutex that the woken one finds taken, and may all be busy zeroing a segment or looking up
 * a name; an eventfd has one reader. When it is busy or could not be made, an urgent job goes to
 * the pool as well. A background job's worker waits for a thread that lives as long as the job
 * (env_uv_background.c): none can raise its priority again without privileges.
 *
 *   loop: todo = job, write(wake)     thread: read(wake), run, done = job, uv_async_send
 *
 * Invariants
 *   1 todo and done are each set by one side and taken by the other, with release/acquire
 *   2 the async handle holds the loop alive exactly while the thread has a job
 *   3 jobs_out counts a job from env_uv_job until just before its done() */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "raftio/env_uv_impl.h"

/* What env_job.impl holds while the pool has the job. */
struct pool_work {
    uv_work_t uv; /* data: the job */
    struct env_uv *u;
};

_Static_assert(sizeof(struct pool_work) <= sizeof((struct env_job *)0)->impl,
               "env_job.impl holds a pool_work");

void env_uv_job_finish(struct env_uv *u, struct env_job *job)
{
    ASSERT(u->jobs_out > 0);
    u->jobs_out--;
    job->done(job);
}

/* ---- The pool ------------------------------------------------------------- */

static void pool_run(uv_work_t *work)
{
    struct env_job *job = work->data;
    if (job->background) {
        env_uv_background_run(job);
    } else {
        job->run(job);
    }
}

static void pool_done(uv_work_t *work, int status)
{
    ASSERT(status == 0); /* jobs are never cancelled */
    env_uv_job_finish(((struct pool_work *)(void *)work)->u, work->data);
}

static void pool_start(struct env_uv *u, struct env_job *job)
{
    struct pool_work *work = (struct pool_work *)(void *)job->impl;
    work->u = u;
    work->uv.data = job;
    int rc = uv_queue_work(u->loop, &work->uv, pool_run, pool_done);
    ASSERT(rc == 0);
}

/* ---- The thread of its own -------------------------------------------------- */

static void *thread_main(void *arg)
{
    struct env_uv *u = arg;
    for (;;) {
        uint64_t n;
        ssize_t got = read(u->wake_fd, &n, sizeof n);
        ASSERT(got == (ssize_t)sizeof n || errno == EINTR);
        if (got < 0) {
            continue;
        }
        if (atomic_load_explicit(&u->thread_stop, memory_order_acquire)) {
            return NULL;
        }
        struct env_job *job = atomic_exchange_explicit(&u->todo, NULL, memory_order_acquire);
        ASSERT(job != NULL);
        job->run(job);
        atomic_store_explicit(&u->done, job, memory_order_release);
        (void)uv_async_send(&u->async);
    }
}

static void wake(struct env_uv *u)
{
    uint64_t one = 1;
    ssize_t put;
    do {
        put = write(u->wake_fd, &one, sizeof one);
    } while (put < 0 && errno == EINTR);
    ASSERT(put == (ssize_t)sizeof one);
}

static void on_async(uv_async_t *h)
{
    struct env_uv *u = h->data;
    struct env_job *job = atomic_exchange_explicit(&u->done, NULL, memory_order_acquire);
    if (job != NULL) {
        u->thread_busy = false;
        uv_unref((uv_handle_t *)&u->async);
        env_uv_job_finish(u, job);
    }
}

/* Signals are the loop thread's. */
static int thread_create(struct env_uv *u)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&u->thread, NULL, thread_main, u);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static bool thread_ready(struct env_uv *u)
{
    if (u->thread_state == THREAD_NONE) {
        u->thread_state = THREAD_FAILED;
        u->wake_fd = eventfd(0, EFD_CLOEXEC);
        if (u->wake_fd >= 0 && thread_create(u) == 0) {
            u->thread_state = THREAD_RUNS;
        } else if (u->wake_fd >= 0) {
            (void)close(u->wake_fd);
        }
    }
    return u->thread_state == THREAD_RUNS && !u->thread_busy;
}

int env_uv_jobs_open(struct env_uv *u)
{
    u->jobs_tail = &u->jobs_head;
    atomic_init(&u->todo, NULL);
    atomic_init(&u->done, NULL);
    atomic_init(&u->thread_stop, false);
    int rc = uv_async_init(u->loop, &u->async, on_async);
    if (rc == 0) {
        u->async.data = u;
        uv_unref((uv_handle_t *)&u->async);
    }
    return rc;
}

void env_uv_jobs_close(struct env_uv *u)
{
    ASSERT(u->jobs_out == 0);
    if (u->thread_state == THREAD_RUNS) {
        atomic_store_explicit(&u->thread_stop, true, memory_order_release);
        wake(u);
        (void)pthread_join(u->thread, NULL);
        (void)close(u->wake_fd);
    }
}

/* ---- The list --------------------------------------------------------------- */

void env_uv_job(struct env *env, struct env_job *job)
{
    struct env_uv *u = (struct env_uv *)env;
    if (u->jobs_head == NULL) {
        /* A loop with nothing else to do must not end before this has started. */
        uv_ref((uv_handle_t *)&u->prepare);
    }
    job->next = NULL;
    *u->jobs_tail = job;
    u->jobs_tail = &job->next;
    u->jobs_out++;
}

void env_uv_job_by_worker(struct env_uv *u, struct env_job *job)
{
    if (job->urgent && thread_ready(u)) {
        u->thread_busy = true;
        uv_ref((uv_handle_t *)&u->async);
        atomic_store_explicit(&u->todo, job, memory_order_release);
        wake(u);
    } else {
        pool_start(u, job);
    }
}

void env_uv_jobs_start(struct env_uv *u)
{
    while (u->jobs_head != NULL) {
        struct env_job *job = u->jobs_head;
        u->jobs_head = job->next;
        if (u->jobs_head == NULL) {
            u->jobs_tail = &u->jobs_head;
        }
        if (job->write == NULL || !env_uv_write_start(u, job)) {
            env_uv_job_by_worker(u, job);
        }
    }
}

/* ---- None left ---------------------------------------------------------------- */

void env_uv_when_idle(struct env *env, void (*cb)(void *arg), void *arg)
{
    struct env_uv *u = (struct env_uv *)env;
    ASSERT(u->idle == NULL);
    u->idle = cb;
    u->idle_arg = arg;
    uv_ref((uv_handle_t *)&u->prepare); /* a loop with nothing else to do has a turn all the same */
}

void env_uv_jobs_idle(struct env_uv *u)
{
    void (*cb)(void *arg) = u->idle;
    if (cb != NULL && u->jobs_out == 0) {
        u->idle = NULL;
        cb(u->idle_arg);
    }
}
