/* Durable writes of the libuv env: without a worker where the system can, by one where it cannot.
 */
#include "env_fixture.h"

#include <linux/magic.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#define BLOCK ENV_BLOCK_BYTES

struct write {
    struct env_job job;
    struct env_write write;
    struct env *env;
    bool by_worker, done;
};

static void run(struct env_job *job)
{
    struct write *w = job->arg;
    w->by_worker = true;
    w->write.status =
        ops->file_write(w->write.file, w->write.at, w->write.data, w->write.len, &w->write.error);
    if (w->write.status == 0) {
        w->write.status = ops->file_sync(w->write.file, &w->write.error);
    }
}

static void done(struct env_job *job)
{
    struct write *w = job->arg;
    assert_false(w->done);
    w->done = true;
}

static void start(struct fixture *f, struct write *w, struct env_file *file, uint64_t at,
                  const void *data, size_t len)
{
    *w = (struct write){ .write = { .file = file, .at = at, .data = data, .len = len } };
    w->job =
        (struct env_job){ .run = run, .done = done, .arg = w, .urgent = true, .write = &w->write };
    ops->job(f->env, &w->job);
}

static void *blocks(size_t n, int fill)
{
    void *p = mem_alloc_aligned(BLOCK, n * BLOCK);
    assert_non_null(p);
    memset(p, fill, n * BLOCK);
    return p;
}

/* A file of `blocks` zeroed blocks, as a log segment is one. */
static struct env_file *segment(struct fixture *f, size_t count)
{
    char path[320];
    struct error e = { 0 };
    struct env_file *file;
    (void)snprintf(path, sizeof path, "%s/segment", f->dir);
    int flags = ENV_READ | ENV_WRITE | ENV_CREATE | ENV_DIRECT;
    assert_int_equal(ops->file_open(f->env, path, flags, &file, &e), 0);
    assert_int_equal(ops->file_allocate(file, count * BLOCK, &e), 0);
    assert_int_equal(ops->file_sync(file, &e), 0);
    return file;
}

static void assert_holds(struct env_file *file, uint64_t at, int fill)
{
    uint8_t out[BLOCK];
    size_t got;
    struct error e = { 0 };
    assert_int_equal(ops->file_read(file, at, out, sizeof out, &got, &e), 0);
    assert_int_equal(got, sizeof out);
    for (size_t i = 0; i < sizeof out; i++) {
        assert_int_equal(out[i], fill);
    }
}

/* Where direct writes into existing blocks are known not to need a worker. Elsewhere all is
 * the same but for the speed. */
static bool is_plain_disk(struct fixture *f)
{
    struct statfs fs;
    assert_int_equal(statfs(f->dir, &fs), 0);
    return fs.f_type == EXT4_SUPER_MAGIC;
}

/* One write and its end; whether it went without a worker. */
static bool write_now(struct fixture *f, struct env_file *file, uint64_t at, const void *data,
                      size_t len, int status)
{
    struct write w;
    start(f, &w, file, at, data, len);
    run_until(f, &w.done);
    assert_int_equal(w.write.status, status);
    return !w.by_worker;
}

/* The same until one goes without a worker: a full queue or a slow submission, on a busy machine,
 * is a worker's for a moment. */
static void write_without_worker(struct fixture *f, struct env_file *file, uint64_t at,
                                 const void *data, size_t len, int status)
{
    uint64_t end = ops->mono_ms(f->env) + DEADLINE_MS;
    while (!write_now(f, file, at, data, len, status) && is_plain_disk(f)) {
        assert_true(ops->mono_ms(f->env) < end);
    }
}

/* Whole blocks into a file whose blocks exist: no worker is asked, and whoever reads finds the
 * bytes. */
static void test_without_worker(void **state)
{
    struct fixture *f = *state;
    struct env_file *file = segment(f, 64);
    void *data = blocks(2, 'x');
    for (uint64_t i = 0; i < 32; i++) {
        write_without_worker(f, file, i * 2 * BLOCK, data, 2 * BLOCK, 0);
    }
    assert_holds(file, 0, 'x');
    assert_holds(file, 63 * BLOCK, 'x');
    ops->file_close(file);
    mem_free(data);
}

/* A page that a reader has brought into the cache is not a reason to use a worker for ever,
 * and what the cache held is not what is read afterwards. */
static void test_beside_the_cache(void **state)
{
    struct fixture *f = *state;
    struct env_file *file = segment(f, 4);
    void *data = blocks(1, 'a');
    for (int i = 0; i < 8; i++) {
        memset(data, 'a' + i, BLOCK);
        write_without_worker(f, file, BLOCK, data, BLOCK, 0);
        assert_holds(file, BLOCK, 'a' + i);
    }
    assert_holds(file, 0, 0);
    assert_holds(file, 2 * BLOCK, 0);
    ops->file_close(file);
    mem_free(data);
}

/* A file that refuses again and again is a worker's for good: no more is asked. */
static void test_refused_for_good(void **state)
{
    struct fixture *f = *state;
    struct env_file *file = segment(f, 4);
    void *data = blocks(1, 'x');
    for (unsigned i = 0; i < 8; i++) { /* without blocks yet: EAGAIN */
        assert_false(write_now(f, file, (16 + i * 16) * BLOCK, data, BLOCK, 0));
    }
    assert_false(write_now(f, file, 0, data, BLOCK, 0));
    assert_holds(file, 0, 'x');
    ops->file_close(file);
    mem_free(data);
}

/* What cannot be done without a worker is done by one: a file without blocks, bytes that are
 * not whole blocks, a file that was not opened for it; more at a time than the kernel was
 * asked to have room for. */
static void test_by_worker(void **state)
{
    struct fixture *f = *state;
    struct error e = { 0 };
    struct env_file *file = segment(f, 1), *plain;
    char path[320];
    void *data = blocks(1, 'x');
    struct write w;
    start(f, &w, file, 9 * BLOCK, data, BLOCK); /* behind its end */
    run_until(f, &w.done);
    assert_int_equal(w.write.status, 0);
    assert_true(w.by_worker);
    assert_holds(file, 9 * BLOCK, 'x');
    start(f, &w, file, 100, data, 50);
    run_until(f, &w.done);
    assert_int_equal(w.write.status, 0);
    assert_true(w.by_worker);
    (void)snprintf(path, sizeof path, "%s/plain", f->dir);
    assert_int_equal(ops->file_open(f->env, path, ENV_READ | ENV_WRITE | ENV_CREATE, &plain, &e),
                     0);
    start(f, &w, plain, 0, data, BLOCK);
    run_until(f, &w.done);
    assert_int_equal(w.write.status, 0);
    assert_true(w.by_worker);
    assert_holds(plain, 0, 'x');
    ops->file_close(plain);
    ops->file_close(file);
    mem_free(data);
}

static void test_many_at_once(void **state)
{
    struct fixture *f = *state;
    struct env_file *file = segment(f, 40);
    void *data = blocks(1, 'x');
    struct write w[40];
    for (uint64_t i = 0; i < 40; i++) {
        start(f, &w[i], file, i * BLOCK, data, BLOCK);
    }
    for (uint64_t i = 0; i < 40; i++) {
        run_until(f, &w[i].done);
        assert_int_equal(w[i].write.status, 0);
        assert_holds(file, i * BLOCK, 'x');
    }
    ops->file_close(file);
    mem_free(data);
}

/* A write that the kernel refuses is an error with the path and the system's words, and is not
 * tried again by a worker. */
static void test_error(void **state)
{
    struct fixture *f = *state;
    struct env_file *file = segment(f, 4);
    void *data = blocks(1, 'x');
    struct rlimit old, small;
    struct write w;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = BLOCK;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    write_without_worker(f, file, 2 * BLOCK, data, BLOCK, ERR_IO);
    start(f, &w, file, 2 * BLOCK, data, BLOCK);
    run_until(f, &w.done);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(w.write.status, ERR_IO);
    assert_non_null(strstr(w.write.error.message, "/segment"));
    assert_non_null(strstr(w.write.error.message, "File too large"));
    assert_holds(file, 2 * BLOCK, 0);
    ops->file_close(file);
    mem_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_without_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_beside_the_cache, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_for_good, setup, teardown),
        cmocka_unit_test_setup_teardown(test_by_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
