/* The libuv env on the real machine: clock, deferred calls, jobs, files on disk. */
#include "env_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *in_dir(struct fixture *f, const char *name)
{
    static char path[2][320];
    static int turn;
    turn = !turn;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", f->dir, name);
    return path[turn];
}

/* ---- Clock, timers, jobs ------------------------------------------------ */

struct tick {
    struct fixture *f;
    uint64_t at_ms;
    bool fired;
    int count;
};

static void on_tick(void *arg)
{
    struct tick *t = arg;
    t->at_ms = ops->mono_ms(t->f->env);
    t->fired = true;
    t->count++;
}

static void busy_ms(struct fixture *f, uint64_t ms)
{
    uint64_t end = ops->mono_ms(f->env) + ms;
    while (ops->mono_ms(f->env) < end) {
    }
}

/* A timer never fires early, even when the loop's cached time was stale at its start. */
static void test_timer_is_not_early(void **state)
{
    struct fixture *f = *state;
    struct tick t = { .f = f };
    struct env_timer *timer = ops->timer_new(f->env, on_tick, &t);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    busy_ms(f, 30);
    uint64_t start = ops->mono_ms(f->env);
    ops->timer_start(timer, 20);
    run_until(f, &t.fired);
    assert_true(t.at_ms >= start + 20);
    ops->timer_free(timer);
}

/* Starting a running timer moves it; a stopped or freed one stays silent. */
static void test_timer_moves_and_stops(void **state)
{
    struct fixture *f = *state;
    struct tick moved = { .f = f }, stopped = { .f = f }, freed = { .f = f };
    struct env_timer *a = ops->timer_new(f->env, on_tick, &moved);
    struct env_timer *b = ops->timer_new(f->env, on_tick, &stopped);
    struct env_timer *c = ops->timer_new(f->env, on_tick, &freed);
    ops->timer_start(a, 1);
    ops->timer_start(b, 1);
    ops->timer_start(c, 1);
    uint64_t start = ops->mono_ms(f->env);
    ops->timer_start(a, 30);
    ops->timer_stop(b);
    ops->timer_free(c);
    run_until(f, &moved.fired);
    assert_true(moved.at_ms >= start + 30);
    assert_int_equal(moved.count, 1);
    assert_false(stopped.fired);
    assert_false(freed.fired);
    ops->timer_free(a);
    ops->timer_free(b);
}

struct turn {
    struct fixture *f;
    struct env_defer d[4];
    char trace[16];
    bool second;
};

static void note(struct turn *t, char c)
{
    size_t n = strlen(t->trace);
    assert_true(n + 1 < sizeof t->trace);
    t->trace[n] = c;
}

static void on_first(void *arg)
{
    struct turn *t = arg;
    note(t, '1');
    if (!t->second) {
        t->second = true;
        ops->defer(t->f->env, &t->d[0]);
        ops->undefer(t->f->env, &t->d[2]);
    }
}

static void on_second(void *arg) { note(arg, '2'); }
static void on_third(void *arg) { note(arg, '3'); }

/* Deferred calls run once each, in order, in one turn, even when nothing else keeps the
 * loop alive; one taken back does not run; one deferred by a callback runs after it. */
static void test_defer(void **state)
{
    struct fixture *f = *state;
    struct turn t = { .f = f };
    void (*cbs[])(void *) = { on_first, on_second, on_third, on_third };
    for (size_t i = 0; i < 4; i++) {
        t.d[i].cb = cbs[i];
        t.d[i].arg = &t;
        ops->defer(f->env, &t.d[i]);
        ops->defer(f->env, &t.d[i]);
    }
    ops->undefer(f->env, &t.d[3]);
    ops->undefer(f->env, &t.d[3]);
    assert_string_equal(t.trace, "");
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_string_equal(t.trace, "121");
}

/* A call deferred by a timer's callback runs before the loop sleeps. */
static void deferring_timer(void *arg)
{
    struct turn *t = arg;
    ops->defer(t->f->env, &t->d[1]);
}

static void test_defer_from_timer(void **state)
{
    struct fixture *f = *state;
    struct turn t = { .f = f };
    struct tick ran = { .f = f }, late = { .f = f };
    t.d[1].cb = on_tick;
    t.d[1].arg = &ran;
    struct env_timer *soon = ops->timer_new(f->env, deferring_timer, &t);
    struct env_timer *alarm = ops->timer_new(f->env, on_tick, &late);
    uint64_t start = ops->mono_ms(f->env);
    ops->timer_start(soon, 1);
    ops->timer_start(alarm, 1000);
    run_until(f, &ran.fired);
    assert_true(ran.at_ms < start + 900); /* the loop did not sleep till the alarm first */
    ops->timer_free(soon);
    ops->timer_free(alarm);
}

struct work {
    struct env_job job;
    uv_thread_t loop_thread;
    bool ran_elsewhere, finished, done_here;
};

static void work_run(struct env_job *job)
{
    struct work *w = job->arg;
    uv_thread_t self = uv_thread_self();
    w->ran_elsewhere = !uv_thread_equal(&self, &w->loop_thread);
}

static void work_done(struct env_job *job)
{
    struct work *w = job->arg;
    uv_thread_t self = uv_thread_self();
    w->done_here = uv_thread_equal(&self, &w->loop_thread) != 0;
    w->finished = true;
}

/* A job runs on a worker and reports on the loop. */
static void test_job(void **state)
{
    struct fixture *f = *state;
    struct work w = { .loop_thread = uv_thread_self() };
    w.job = (struct env_job){ .run = work_run, .done = work_done, .arg = &w };
    ops->job(f->env, &w.job);
    assert_false(w.finished);
    run_until(f, &w.finished);
    assert_true(w.ran_elsewhere);
    assert_true(w.done_here);
}

/* Random bytes differ and the wall clock is of this century. */
static void test_random_and_wall(void **state)
{
    struct fixture *f = *state;
    uint8_t a[32] = { 0 }, b[32] = { 0 };
    ops->random(f->env, a, sizeof a);
    ops->random(f->env, b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(ops->wall_ms(f->env) > 1600000000000ull);
}

/* ---- Files -------------------------------------------------------------- */

/* What was written and synced is read back, across a rename; reads end at the end. */
static void test_file_round_trip(void **state)
{
    struct fixture *f = *state;
    struct error e = { 0 };
    struct env_file *file;
    const char *path = in_dir(f, "a");
    assert_int_equal(
        ops->file_open(f->env, path, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, &file, &e),
        0);
    assert_int_equal(ops->file_write(file, 3, "hello", 5, &e), 0);
    assert_int_equal(ops->file_sync(file, &e), 0);
    uint64_t size;
    assert_int_equal(ops->file_size(file, &size, &e), 0);
    assert_int_equal(size, 8);
    char out[16];
    size_t got;
    assert_int_equal(ops->file_read(file, 0, out, sizeof out, &got, &e), 0);
    assert_int_equal(got, 8);
    assert_memory_equal(out, "\0\0\0hello", 8);
    assert_int_equal(ops->file_truncate(file, 4, &e), 0);
    ops->file_close(file);
    assert_int_equal(ops->rename(f->env, path, in_dir(f, "b"), &e), 0);
    assert_int_equal(ops->sync_dir(f->env, f->dir, &e), 0);
    assert_int_equal(ops->file_open(f->env, in_dir(f, "b"), ENV_READ, &file, &e), 0);
    assert_int_equal(ops->file_read(file, 2, out, sizeof out, &got, &e), 0);
    assert_int_equal(got, 2);
    ops->file_close(file);
}

/* An allocated file has its size, reads as zeros and owns its blocks. */
static void test_file_allocate(void **state)
{
    struct fixture *f = *state;
    struct error e = { 0 };
    struct env_file *file;
    uint64_t want = 3 * 1024 * 1024 + 77;
    assert_int_equal(
        ops->file_open(f->env, in_dir(f, "a"), ENV_READ | ENV_WRITE | ENV_CREATE, &file, &e), 0);
    assert_int_equal(ops->file_allocate(file, want, &e), 0);
    uint64_t size;
    assert_int_equal(ops->file_size(file, &size, &e), 0);
    assert_int_equal(size, want);
    char last = 'x';
    size_t got;
    assert_int_equal(ops->file_read(file, want - 1, &last, 1, &got, &e), 0);
    assert_int_equal(got, 1);
    assert_int_equal(last, 0);
    ops->file_close(file);
}

/* Failures carry the right code, the path and the system's words. */
static void test_file_errors(void **state)
{
    struct fixture *f = *state;
    struct error e = { 0 };
    struct env_file *file;
    assert_int_equal(ops->file_open(f->env, in_dir(f, "none"), ENV_READ, &file, &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.message, "none"));
    assert_non_null(strstr(e.message, "No such file"));
    const char *path = in_dir(f, "a");
    int fresh = ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE;
    assert_int_equal(ops->file_open(f->env, path, fresh, &file, &e), 0);
    ops->file_close(file);
    assert_int_equal(ops->file_open(f->env, path, fresh, &file, &e), ERR_CONFLICT);
    assert_int_equal(ops->remove(f->env, path, &e), 0);
    assert_int_equal(ops->remove(f->env, path, &e), ERR_NOTFOUND);
    assert_int_equal(ops->file_open(f->env, "/dev/full", ENV_WRITE, &file, &e), 0);
    assert_int_equal(ops->file_write(file, 0, "x", 1, &e), ERR_NOSPACE);
    assert_non_null(strstr(e.message, "/dev/full"));
    ops->file_close(file);
    assert_int_equal(ops->file_open(f->env, "/proc/self/mem", ENV_READ, &file, &e), 0);
    char byte;
    size_t got;
    assert_int_equal(ops->file_read(file, 0, &byte, 1, &got, &e), ERR_IO);
    ops->file_close(file);
    assert_int_equal(ops->list_dir(f->env, in_dir(f, "none"), NULL, NULL, &e), ERR_NOTFOUND);
    assert_int_equal(ops->sync_dir(f->env, in_dir(f, "none"), &e), ERR_NOTFOUND);
}

/* A write that the kernel takes only in part and then refuses is an error, not a success. */
static void test_file_short_write(void **state)
{
    struct fixture *f = *state;
    struct error e = { 0 };
    struct env_file *file;
    assert_int_equal(ops->file_open(f->env, in_dir(f, "a"), ENV_WRITE | ENV_CREATE, &file, &e), 0);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    static const char data[8192];
    int rc = ops->file_write(file, 0, data, sizeof data, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, ERR_IO);
    ops->file_close(file);
}

/* A lock excludes other processes and other opens of this one, and goes with its file. */
static void test_file_lock(void **state)
{
    struct fixture *f = *state;
    struct error e = { 0 };
    struct env_file *a, *b;
    const char *path = in_dir(f, "lock");
    assert_int_equal(ops->file_open(f->env, path, ENV_WRITE | ENV_CREATE, &a, &e), 0);
    assert_int_equal(ops->file_open(f->env, path, ENV_WRITE, &b, &e), 0);
    assert_int_equal(ops->file_lock(a, &e), 0);
    assert_int_equal(ops->file_lock(b, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.message, "locked"));
    pid_t child = fork();
    if (child == 0) {
        struct env_file *c;
        int rc = ops->file_open(f->env, path, ENV_WRITE, &c, &e);
        _exit(rc == 0 && ops->file_lock(c, &e) == ERR_CONFLICT ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ops->file_close(a);
    assert_int_equal(ops->file_lock(b, &e), 0);
    ops->file_close(b);
}

static void count_name(void *arg, const char *name)
{
    int *n = arg;
    assert_true(strcmp(name, "x") == 0 || strcmp(name, "y") == 0);
    ++*n;
}

/* Directories: made with parents, again without complaint, never over a file; listed. */
static void test_directories(void **state)
{
    struct fixture *f = *state;
    struct error e = { 0 };
    const char *deep = in_dir(f, "p/q//r/");
    assert_int_equal(ops->make_dir(f->env, deep, &e), 0);
    assert_int_equal(ops->make_dir(f->env, deep, &e), 0);
    struct env_file *file;
    assert_int_equal(
        ops->file_open(f->env, in_dir(f, "p/q/r/x"), ENV_WRITE | ENV_CREATE, &file, &e), 0);
    ops->file_close(file);
    assert_int_equal(ops->make_dir(f->env, in_dir(f, "p/q/r/y"), &e), 0);
    assert_int_not_equal(ops->make_dir(f->env, in_dir(f, "p/q/r/x"), &e), 0);
    assert_int_not_equal(ops->make_dir(f->env, in_dir(f, "p/q/r/x/z"), &e), 0);
    int n = 0;
    assert_int_equal(ops->list_dir(f->env, in_dir(f, "p/q/r"), count_name, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_int_not_equal(ops->remove(f->env, in_dir(f, "p/q/r"), &e), 0); /* not empty */
    assert_int_equal(ops->remove(f->env, in_dir(f, "p/q/r/y"), &e), 0);
    uint64_t bytes = 0;
    assert_int_equal(ops->free_bytes(f->env, f->dir, &bytes, &e), 0);
    assert_true(bytes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_timer_is_not_early, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timer_moves_and_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_defer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_defer_from_timer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_job, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_and_wall, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_allocate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_short_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directories, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
