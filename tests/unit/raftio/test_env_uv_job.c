/* Jobs of the libuv env: the pool, the urgent job's own thread, and when they start. */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "env_fixture.h"
#include "raftio/env_uv_impl.h"

/* More than libuv's pool has threads (4, or UV_THREADPOOL_SIZE). */
#define BLOCKERS 64

struct work {
    struct env_job job;
    struct fixture *f;
    sem_t *gate; /* waits here; NULL: does not wait */
    atomic_int *ran;
    bool done;
    int fd; /* reads from here when it runs, if not 0 */
    ssize_t got;
};

static void work_run(struct env_job *job)
{
    struct work *w = job->arg;
    if (w->gate != NULL) {
        (void)sem_wait(w->gate);
    }
    if (w->fd != 0) {
        char bytes[8];
        w->got = recv(w->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    }
    atomic_fetch_add(w->ran, 1);
}

static void work_done(struct env_job *job)
{
    struct work *w = job->arg;
    w->done = true;
}

static void start(struct work *w, bool urgent)
{
    w->job = (struct env_job){ .run = work_run, .done = work_done, .arg = w, .urgent = urgent };
    ops->job(w->f->env, &w->job);
}

/* The journal's write never waits behind jobs that fill the whole pool. */
static void test_urgent_passes_a_full_pool(void **state)
{
    struct fixture *f = *state;
    static struct work blockers[BLOCKERS];
    atomic_int ran = 0;
    sem_t gate;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    for (int i = 0; i < BLOCKERS; i++) {
        blockers[i] = (struct work){ .f = f, .gate = &gate, .ran = &ran };
        start(&blockers[i], false);
    }
    for (int i = 0; i < 3; i++) { /* and again: the thread is used anew */
        struct work urgent = { .f = f, .ran = &ran };
        start(&urgent, true);
        run_until(f, &urgent.done);
        assert_int_equal(atomic_load(&ran), i + 1);
    }
    for (int i = 0; i < BLOCKERS; i++) {
        assert_int_equal(sem_post(&gate), 0);
    }
    for (int i = 0; i < BLOCKERS; i++) {
        run_until(f, &blockers[i].done);
    }
    assert_int_equal(atomic_load(&ran), BLOCKERS + 3);
    (void)sem_destroy(&gate);
}

/* A second urgent job, while the thread has one, runs as well: in the pool. */
static void test_urgent_twice_at_once(void **state)
{
    struct fixture *f = *state;
    atomic_int ran = 0;
    sem_t gate;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    struct work first = { .f = f, .gate = &gate, .ran = &ran }, second = { .f = f, .ran = &ran };
    start(&first, true);
    start(&second, true);
    run_until(f, &second.done);
    assert_false(first.done);
    assert_int_equal(sem_post(&gate), 0);
    run_until(f, &first.done);
    assert_int_equal(atomic_load(&ran), 2);
    (void)sem_destroy(&gate);
}

/* What was written to a stream in the turn that asked for the job has left before it runs. */
static void nothing(void *arg, const uint8_t *bytes, size_t len)
{
    (void)arg, (void)bytes, (void)len;
}
static void closed(void *arg, int status)
{
    (void)status;
    *(bool *)arg = true;
}
static const struct env_stream_events events = { nothing, NULL, closed };

static void test_starts_behind_the_sends(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    bool gone = false;
    atomic_int ran = 0;
    struct env_stream *s;
    struct error e;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(env_uv_adopt(f->env, fds[0], &s, &e), 0);
    ops->stream_start(s, &events, &gone);
    struct work w = { .f = f, .ran = &ran, .fd = fds[1] };
    start(&w, true); /* asked for first */
    struct buf b = BUF_INIT;
    buf_put(&b, "entry", 5);
    ops->stream_write(s, &b);
    run_until(f, &w.done);
    assert_int_equal(w.got, 5);
    ops->stream_close(s);
    run_until(f, &gone);
    (void)close(fds[1]);
}

static void set_flag(void *arg) { *(bool *)arg = true; }

/* Who waits for idleness is called at once without jobs, else after the last of them. */
static void test_idle(void **state)
{
    struct fixture *f = *state;
    bool idle = false;
    env_uv_when_idle(f->env, set_flag, &idle);
    assert_false(idle);
    run_until(f, &idle);
    sem_t gate;
    atomic_int ran = 0;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    struct work slow = { .f = f, .gate = &gate, .ran = &ran }, urgent = { .f = f, .ran = &ran };
    idle = false;
    start(&slow, false);
    start(&urgent, true);
    env_uv_when_idle(f->env, set_flag, &idle);
    run_until(f, &urgent.done);
    assert_false(idle);
    assert_int_equal(sem_post(&gate), 0);
    run_until(f, &idle);
    assert_true(slow.done);
    (void)sem_destroy(&gate);
}

static void look_at_nice(struct env_job *job)
{
    struct work *w = job->arg;
    atomic_store(w->ran, getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid)));
}

/* A background job has a lower priority; the pool's threads keep theirs. */
static void test_background_priority(void **state)
{
    struct fixture *f = *state;
    int usual = getpriority(PRIO_PROCESS, 0);
    atomic_int nice = -1;
    for (int i = 0; i < 8; i++) {
        bool background = i == 0;
        struct work w = { .f = f, .ran = &nice };
        w.job = (struct env_job){
            .run = look_at_nice, .done = work_done, .arg = &w, .background = background
        };
        ops->job(f->env, &w.job);
        run_until(f, &w.done);
        assert_true(background ? atomic_load(&nice) > usual : atomic_load(&nice) == usual);
    }
}

/* Works until it has been put to sleep so many times; -1: it never was. */
static void rest_often(struct env_job *job)
{
    struct work *w = job->arg;
    struct rusage before, now;
    time_t deadline = time(NULL) + 60;
    assert_int_equal(getrusage(RUSAGE_THREAD, &before), 0);
    do {
        ops->rest(w->f->env, job);
        assert_int_equal(getrusage(RUSAGE_THREAD, &now), 0);
    } while (now.ru_nvcsw - before.ru_nvcsw < 20 && time(NULL) < deadline);
    atomic_store(w->ran, now.ru_nvcsw - before.ru_nvcsw < 20 ? -1 : 1);
}

/* A background job that calls rest() does not keep its core. */
static void test_background_rests(void **state)
{
    struct fixture *f = *state;
    atomic_int ran = 0;
    struct work w = { .f = f, .ran = &ran };
    w.job = (struct env_job){ .run = rest_often, .done = work_done, .arg = &w, .background = true };
    ops->job(f->env, &w.job);
    run_until(f, &w.done);
    assert_int_equal(atomic_load(&ran), 1);
}

/* The busier the others, the shorter it works and the longer it naps. */
static void test_background_pace(void **state)
{
    static const uint64_t quiet = 10, between = 40, busy = 60, busier = 2000;
    (void)state;
    assert_int_equal(env_uv_background_burst(quiet), 400000);
    assert_int_equal(env_uv_background_nap(quiet), 400000);
    assert_int_equal(env_uv_background_burst(between), 250000);
    assert_int_equal(env_uv_background_nap(between), 1000000);
    assert_int_equal(env_uv_background_burst(busy), 100000);
    assert_int_equal(env_uv_background_nap(busier), 1600000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_urgent_passes_a_full_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_urgent_twice_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_starts_behind_the_sends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_background_priority, setup, teardown),
        cmocka_unit_test_setup_teardown(test_background_rests, setup, teardown),
        cmocka_unit_test(test_background_pace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
