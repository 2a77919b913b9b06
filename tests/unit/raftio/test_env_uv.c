/* The libuv env on the real machine: clock, jobs, files on disk, TCP on loopback. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "raftio/env_uv.h"

#define DEADLINE_MS 10000

struct fixture {
    uv_loop_t loop;
    struct env *env;
    char dir[256];
};

static const struct env_ops *ops;

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error e = { 0 };
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(env_uv_new(&f->loop, &f->env, &e), 0);
    ops = f->env->ops;
    assert_int_equal(ops->make_dir(f->env, "build/tmp", &e), 0);
    (void)snprintf(f->dir, sizeof f->dir, "build/tmp/env-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    env_uv_free(f->env);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    char command[300];
    (void)snprintf(command, sizeof command, "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(mem_test_live(), 0);
    free(f);
    return 0;
}

/* Turns the loop until *flag or the deadline. */
static void run_until(struct fixture *f, const bool *flag)
{
    uint64_t end = ops->mono_ms(f->env) + DEADLINE_MS;
    while (!*flag) {
        assert_true(ops->mono_ms(f->env) < end);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static const char *in_dir(struct fixture *f, const char *name)
{
    static char path[2][320];
    static int turn;
    turn = !turn;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", f->dir, name);
    return path[turn];
}

/* ---- Clock, timers, jobs --------------------------------------------------- */

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

/* ---- Files ------------------------------------------------------------------ */

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
    uint64_t bytes = 0;
    assert_int_equal(ops->free_bytes(f->env, f->dir, &bytes, &e), 0);
    assert_true(bytes > 0);
}

/* ---- Streams ------------------------------------------------------------------ */

struct peer {
    struct fixture *f;
    struct env_stream *s;
    struct buf got;
    size_t want; /* sets full when this many bytes are here */
    bool connected, full, drained, closed;
    int connect_status, status, closes;
};

static void on_data(void *arg, const uint8_t *bytes, size_t len)
{
    struct peer *p = arg;
    assert_false(p->closed);
    buf_put(&p->got, bytes, len);
    p->full = p->got.len >= p->want;
}

static void on_drained(void *arg)
{
    struct peer *p = arg;
    assert_int_equal(ops->stream_queued(p->s), 0);
    p->drained = true;
}

static void on_closed(void *arg, int status)
{
    struct peer *p = arg;
    p->closed = true;
    p->closes++;
    p->status = status;
}

static const struct env_stream_events events = { on_data, on_drained, on_closed };

static void on_connect(void *arg, int status, struct env_stream *s)
{
    struct peer *p = arg;
    p->connected = true;
    p->connect_status = status;
    p->s = s;
    if (s != NULL) {
        ops->stream_start(s, &events, p);
    }
}

/* A plain listening socket; returns its port. */
static int listen_on(int family, int *port)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr *a = family == AF_INET ? (struct sockaddr *)&a4 : (struct sockaddr *)&a6;
    socklen_t len = family == AF_INET ? sizeof a4 : sizeof a6;
    if (fd < 0 || bind(fd, a, len) != 0 || listen(fd, 8) != 0 || getsockname(fd, a, &len) != 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    *port = ntohs(family == AF_INET ? a4.sin_port : a6.sin6_port);
    return fd;
}

/* Connects `a` by address and adopts the accepted side as `b`. */
static void make_pair(struct fixture *f, const char *host, int family, struct peer *a,
                      struct peer *b)
{
    struct error e = { 0 };
    int port;
    int fd = listen_on(family, &port);
    assert_true(fd >= 0);
    char address[64];
    (void)snprintf(address, sizeof address, "%s:%d", host, port);
    *a = (struct peer){ .f = f };
    *b = (struct peer){ .f = f };
    ops->connect(f->env, address, on_connect, a);
    assert_false(a->connected);
    run_until(f, &a->connected);
    assert_int_equal(a->connect_status, 0);
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    assert_int_equal(env_uv_adopt(f->env, accepted, &b->s, &e), 0);
    ops->stream_start(b->s, &events, b);
    (void)close(fd);
}

static void end_pair(struct fixture *f, struct peer *a, struct peer *b)
{
    ops->stream_close(a->s);
    ops->stream_close(a->s); /* twice is once */
    run_until(f, &a->closed);
    run_until(f, &b->closed);
    assert_int_equal(a->status, 0);
    assert_int_equal(b->status, 0);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(a->closes, 1);
    assert_int_equal(b->closes, 1);
    buf_free(&a->got);
    buf_free(&b->got);
}

static void put(struct peer *p, const char *text)
{
    struct buf b = BUF_INIT;
    buf_put_str(&b, text);
    ops->stream_write(p->s, &b);
    assert_null(b.data);
}

/* Bytes arrive in order both ways; drained comes from the loop, once all is sent. */
static void test_stream_both_ways(void **state)
{
    struct fixture *f = *state;
    struct peer a, b;
    make_pair(f, "127.0.0.1", AF_INET, &a, &b);
    put(&a, "one ");
    put(&a, "two");
    assert_int_equal(ops->stream_queued(a.s), 7);
    assert_false(a.drained);
    put(&b, "three");
    b.want = 7;
    a.want = 5;
    run_until(f, &b.full);
    run_until(f, &a.full);
    assert_true(a.drained);
    assert_memory_equal(b.got.data, "one two", 7);
    assert_memory_equal(a.got.data, "three", 5);
    end_pair(f, &a, &b);
}

/* 64 MiB in uneven pieces against a socket buffer that is far smaller: nothing is lost,
 * reordered or left queued. */
static void test_stream_large(void **state)
{
    struct fixture *f = *state;
    struct peer a, b;
    make_pair(f, "localhost", AF_INET, &a, &b); /* tries ::1 first where it exists */
    size_t total = 0;
    for (size_t i = 0; total < (size_t)64 * 1024 * 1024; i++) {
        struct buf piece = BUF_INIT;
        size_t len = 1 + (i * 7919) % 300000;
        assert_true(buf_reserve(&piece, len));
        for (size_t k = 0; k < len; k++) {
            piece.data[k] = (uint8_t)((total + k) * 31 >> 3);
        }
        piece.len = len;
        total += len;
        ops->stream_write(a.s, &piece);
    }
    b.want = total;
    run_until(f, &b.full);
    run_until(f, &a.drained);
    assert_int_equal(b.got.len, total);
    for (size_t k = 0; k < total; k++) {
        if (b.got.data[k] != (uint8_t)(k * 31 >> 3)) {
            fail_msg("byte %zu differs", k);
        }
    }
    end_pair(f, &a, &b);
}

/* Bytes queued just before stream_close still leave when the socket has room. */
static void test_stream_last_words(void **state)
{
    struct fixture *f = *state;
    struct peer a, b;
    make_pair(f, "127.0.0.1", AF_INET, &a, &b);
    put(&a, "goodbye");
    ops->stream_close(a.s);
    run_until(f, &a.closed);
    run_until(f, &b.closed);
    assert_int_equal(b.got.len, 7);
    buf_free(&b.got);
}

/* A reset by the other side closes with ERR_IO, with writes still queued and none leaked. */
static void test_stream_reset(void **state)
{
    struct fixture *f = *state;
    int port;
    int fd = listen_on(AF_INET, &port);
    char address[64];
    (void)snprintf(address, sizeof address, "127.0.0.1:%d", port);
    struct peer a = { .f = f };
    ops->connect(f->env, address, on_connect, &a);
    run_until(f, &a.connected);
    int accepted = accept(fd, NULL, NULL);
    for (int i = 0; i < 64; i++) {
        struct buf piece = BUF_INIT;
        assert_true(buf_reserve(&piece, 1 << 20));
        memset(piece.data, 'x', 1 << 20);
        piece.len = 1 << 20;
        ops->stream_write(a.s, &piece);
    }
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    struct linger hard = { 1, 0 };
    assert_int_equal(setsockopt(accepted, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    (void)close(accepted);
    (void)close(fd);
    run_until(f, &a.closed);
    assert_int_equal(a.status, ERR_IO);
    assert_int_equal(a.closes, 1);
}

/* IPv6 addresses in brackets work where the machine has IPv6. */
static void test_connect_v6(void **state)
{
    struct fixture *f = *state;
    int port;
    int fd = listen_on(AF_INET6, &port);
    if (fd < 0) {
        skip();
    }
    (void)close(fd);
    struct peer a, b;
    make_pair(f, "[::1]", AF_INET6, &a, &b);
    end_pair(f, &a, &b);
}

/* Failures come through the callback, later, with a code for their kind. */
static void test_connect_failures(void **state)
{
    struct fixture *f = *state;
    int port;
    int fd = listen_on(AF_INET, &port);
    (void)close(fd); /* now nobody listens there */
    char refused[64];
    (void)snprintf(refused, sizeof refused, "localhost:%d", port);
    const struct {
        const char *address;
        int status;
    } cases[] = {
        { refused, ERR_IO },
        { "", ERR_BADARG },
        { "host", ERR_BADARG },
        { ":1", ERR_BADARG },
        { "host:", ERR_BADARG },
        { "host:0", ERR_BADARG },
        { "host:65536", ERR_BADARG },
        { "host:1x", ERR_BADARG },
        { "[]:1", ERR_BADARG },
        { "[::1:1", ERR_BADARG },
        { "bad..name:1", ERR_NOTFOUND },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer p = { .f = f };
        ops->connect(f->env, cases[i].address, on_connect, &p);
        assert_false(p.connected);
        run_until(f, &p.connected);
        assert_null(p.s);
        assert_int_equal(p.connect_status, cases[i].status);
    }
}

/* An address that swallows packets ends at the deadline (192.0.2.0/24 is set aside for
 * documentation); a machine without a route fails at once, which is as good. */
static void test_connect_deadline(void **state)
{
    struct fixture *f = *state;
    struct peer p = { .f = f };
    ops->connect(f->env, "192.0.2.1:9", on_connect, &p);
    run_until(f, &p.connected);
    if (p.s != NULL) { /* a proxying network answered for it */
        ops->stream_close(p.s);
        run_until(f, &p.closed);
        skip();
    }
    assert_int_equal(p.connect_status, ERR_IO);
}

/* A descriptor that is no socket is refused and stays the caller's. */
static void test_adopt_refuses(void **state)
{
    struct fixture *f = *state;
    struct error e = { 0 };
    struct env_stream *s = NULL;
    assert_int_not_equal(env_uv_adopt(f->env, 1 << 20, &s, &e), 0);
    assert_null(s);
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
        cmocka_unit_test_setup_teardown(test_stream_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_last_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connect_v6, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connect_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connect_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopt_refuses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
