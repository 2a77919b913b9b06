/* The simulated world keeps its promises: what survives a crash, what order things
 * happen in, and that a seed replays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim/env_sim.h"

static struct env_file *open_file(struct env *env, const char *path, int flags)
{
    struct env_file *f = NULL;
    struct error e = { 0 };
    int rv = env->ops->file_open(env, path, flags, &f, &e);
    if (rv != 0) {
        fail_msg("%s", e.message);
    }
    return f;
}

static bool exists(struct env *env, const char *path)
{
    struct env_file *f = NULL;
    if (env->ops->file_open(env, path, ENV_READ, &f, NULL) != 0) {
        return false;
    }
    env->ops->file_close(f);
    return true;
}

#define RW (ENV_READ | ENV_WRITE | ENV_CREATE)

/* A file with a durable name, holding "durable!" synced. */
static struct env_file *durable_file(struct env *env)
{
    struct error e = { 0 };
    assert_int_equal(env->ops->make_dir(env, "data/a", &e), 0);
    struct env_file *f = open_file(env, "data/a/f", RW);
    assert_int_equal(env->ops->file_write(f, 0, "durable!", 8, &e), 0);
    assert_int_equal(env->ops->file_sync(f, &e), 0);
    assert_int_equal(env->ops->sync_dir(env, "data/a", &e), 0);
    return f;
}

static size_t read_all(struct env *env, const char *path, char *out, size_t cap)
{
    struct env_file *f = open_file(env, path, ENV_READ);
    size_t got = 0;
    assert_int_equal(env->ops->file_read(f, 0, out, cap, &got, NULL), 0);
    env->ops->file_close(f);
    return got;
}

/* Synced bytes always survive a power loss; an unsynced write survives never, whole or
 * as a prefix, and over many seeds each of the three is seen. */
static void power_loss_keeps_synced_and_tears_the_rest(void **state)
{
    (void)state;
    bool none = false, part = false, whole = false;
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct sim *sim = sim_new(seed);
        struct env *a = sim_env(sim, "a:1");
        struct env_file *f = durable_file(a);
        assert_int_equal(a->ops->file_write(f, 8, "unsynced", 8, NULL), 0);
        char text[32];
        assert_int_equal(read_all(a, "data/a/f", text, sizeof text), 16);
        sim_crash(a, SIM_POWER_LOSS);
        a->ops->file_close(f);
        a = sim_env(sim, "a:1");
        size_t got = read_all(a, "data/a/f", text, sizeof text);
        assert_true(got >= 8 && got <= 16);
        assert_memory_equal(text, "durable!unsynced", got);
        none |= got == 8;
        part |= got > 8 && got < 16;
        whole |= got == 16;
        sim_free(sim);
    }
    assert_true(none && part && whole);
}

/* A killed process loses nothing that it wrote, and releases its locks. */
static void kill_keeps_written_bytes(void **state)
{
    (void)state;
    struct sim *sim = sim_new(1);
    struct env *a = sim_env(sim, "a:1");
    struct env_file *f = durable_file(a);
    assert_int_equal(a->ops->file_lock(f, NULL), 0);
    struct env_file *again = open_file(a, "data/a/f", RW);
    assert_int_equal(a->ops->file_lock(again, NULL), ERR_CONFLICT);
    assert_int_equal(a->ops->file_write(f, 8, "unsynced", 8, NULL), 0);
    sim_crash(a, SIM_KILL);
    a->ops->file_close(f);
    a->ops->file_close(again);
    a = sim_env(sim, "a:1");
    char text[32];
    assert_int_equal(read_all(a, "data/a/f", text, sizeof text), 16);
    f = open_file(a, "data/a/f", RW);
    assert_int_equal(a->ops->file_lock(f, NULL), 0);
    sim_free(sim);
}

/* A new name or a rename survives for certain only after sync_dir, and a rename never
 * leaves both names or none. */
static void names_need_sync_dir(void **state)
{
    (void)state;
    bool lost = false, kept = false;
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct sim *sim = sim_new(seed);
        struct env *a = sim_env(sim, "a:1");
        struct env_file *f = durable_file(a);
        struct env_file *g = open_file(a, "data/a/g", RW);
        assert_int_equal(a->ops->file_sync(g, NULL), 0);
        assert_int_equal(a->ops->rename(a, "data/a/f", "data/a/h", NULL), 0);
        assert_false(exists(a, "data/a/f"));
        sim_crash(a, SIM_POWER_LOSS);
        a->ops->file_close(f);
        a->ops->file_close(g);
        a = sim_env(sim, "a:1");
        lost |= !exists(a, "data/a/g");
        kept |= exists(a, "data/a/g");
        assert_true(exists(a, "data/a/f") != exists(a, "data/a/h"));
        sim_free(sim);
    }
    assert_true(lost && kept);
}

/* What a failed sync covered is not made durable by the next one (D3), though it reads
 * back until the crash. */
static void failed_sync_is_final(void **state)
{
    (void)state;
    bool lost = false;
    for (uint64_t seed = 0; seed < 32; seed++) {
        struct sim *sim = sim_new(seed);
        struct env *a = sim_env(sim, "a:1");
        struct env_file *f = durable_file(a);
        assert_int_equal(a->ops->file_write(f, 0, "CHANGED!", 8, NULL), 0);
        sim_fail_at(a, SIM_SYNC, 1, SIM_FAIL_IO);
        struct error e = { 0 };
        assert_int_equal(a->ops->file_sync(f, &e), ERR_IO);
        assert_non_null(strstr(e.message, "data/a/f"));
        assert_int_equal(a->ops->file_sync(f, NULL), 0);
        char text[16];
        assert_int_equal(read_all(a, "data/a/f", text, sizeof text), 8);
        assert_memory_equal(text, "CHANGED!", 8);
        sim_crash(a, SIM_POWER_LOSS);
        a->ops->file_close(f);
        a = sim_env(sim, "a:1");
        assert_int_equal(read_all(a, "data/a/f", text, sizeof text), 8);
        lost |= memcmp(text, "CHANGED!", 8) != 0;
        sim_free(sim);
    }
    assert_true(lost);
}

/* A crash at the N-th write cuts that write; afterwards the ghost's writes reach nothing. */
static void crash_at_the_nth_write(void **state)
{
    (void)state;
    struct sim *sim = sim_new(3);
    struct env *a = sim_env(sim, "a:1");
    struct env_file *f = durable_file(a);
    sim_fail_at(a, SIM_WRITE, 2, SIM_FAIL_POWER);
    assert_int_equal(a->ops->file_write(f, 0, "D", 1, NULL), 0);
    assert_false(sim_is_ghost(a));
    assert_int_equal(a->ops->file_write(f, 8, "x", 1, NULL), 0);
    assert_true(sim_is_ghost(a));
    assert_int_equal(a->ops->file_write(f, 0, "GHOST GHOST", 11, NULL), 0);
    assert_int_equal(a->ops->file_sync(f, NULL), 0);
    size_t got;
    char text[16];
    assert_int_equal(a->ops->file_read(f, 0, text, 4, &got, NULL), ERR_IO);
    a->ops->file_close(f);
    a = sim_env(sim, "a:1");
    got = read_all(a, "data/a/f", text, sizeof text);
    assert_true(got == 8 || got == 9);
    assert_memory_equal(text + 1, "urable!", 7);
    sim_free(sim);
}

/* A full disk takes what fits, says NOSPACE, and works again when there is room. */
static void full_disk(void **state)
{
    (void)state;
    struct sim *sim = sim_new(4);
    struct env *a = sim_env(sim, "a:1");
    struct env_file *f = durable_file(a);
    sim_set_disk_bytes(a, 12);
    uint64_t bytes = 0;
    assert_int_equal(a->ops->free_bytes(a, "data", &bytes, NULL), 0);
    assert_int_equal(bytes, 4);
    assert_int_equal(a->ops->file_write(f, 8, "12345678", 8, NULL), ERR_NOSPACE);
    assert_int_equal(a->ops->file_size(f, &bytes, NULL), 0);
    assert_int_equal(bytes, 12);
    assert_int_equal(a->ops->file_allocate(f, 64, NULL), ERR_NOSPACE);
    sim_set_disk_bytes(a, 1000);
    assert_int_equal(a->ops->file_allocate(f, 64, NULL), 0);
    assert_int_equal(a->ops->file_truncate(f, 3, NULL), 0);
    assert_int_equal(a->ops->file_size(f, &bytes, NULL), 0);
    assert_int_equal(bytes, 3);
    assert_true(sim_flip_bit(a, "data/a/f", 1, 0));
    assert_false(sim_flip_bit(a, "data/a/f", 3, 0));
    a->ops->file_close(f);
    assert_int_equal(a->ops->remove(a, "data/a/f", NULL), 0);
    assert_false(exists(a, "data/a/f"));
    sim_free(sim);
}

/* ---- Timers and jobs ------------------------------------------------------------- */

struct log {
    char text[512];
    struct env *env;
};

struct mark {
    struct log *log;
    char c;
};

static void put_mark(void *arg)
{
    struct mark *m = arg;
    size_t len = strlen(m->log->text);
    m->log->text[len] = m->c;
}

/* Timers fire in order of time, those of one instant in order of starting; stopped ones
 * do not, moved ones once. A paused node's timers wait for the resume. */
static void timers_fire_in_order(void **state)
{
    (void)state;
    struct sim *sim = sim_new(5);
    struct env *a = sim_env(sim, "a:1");
    struct log log = { "", a };
    struct mark marks[4] = { { &log, 'a' }, { &log, 'b' }, { &log, 'c' }, { &log, 'd' } };
    struct env_timer *t[4];
    for (int i = 0; i < 4; i++) {
        t[i] = a->ops->timer_new(a, put_mark, &marks[i]);
    }
    a->ops->timer_start(t[0], 20);
    a->ops->timer_start(t[1], 10);
    a->ops->timer_start(t[2], 10);
    a->ops->timer_start(t[3], 5);
    a->ops->timer_stop(t[3]);
    a->ops->timer_start(t[1], 10);
    sim_run(sim, 15);
    assert_string_equal(log.text, "cb");
    assert_int_equal(sim_now(sim), 15);
    sim_pause(a);
    sim_run(sim, 100);
    assert_string_equal(log.text, "cb");
    sim_resume(a);
    sim_run(sim, 1);
    assert_string_equal(log.text, "cba");
    assert_int_equal(sim_now(sim), 116);
    for (int i = 0; i < 4; i++) {
        a->ops->timer_free(t[i]);
    }
    sim_free(sim);
}

struct turn {
    struct log *log;
    struct env_defer one, two, three;
};

static void defer_one(void *arg)
{
    struct turn *t = arg;
    struct mark m = { t->log, '1' };
    put_mark(&m);
    t->log->env->ops->defer(t->log->env, &t->three);
}
static void defer_two(void *arg)
{
    struct mark m = { ((struct turn *)arg)->log, '2' };
    put_mark(&m);
}
static void defer_three(void *arg)
{
    struct mark m = { ((struct turn *)arg)->log, '3' };
    put_mark(&m);
}
static void turn_timer(void *arg)
{
    struct turn *t = arg;
    struct env *env = t->log->env;
    env->ops->defer(env, &t->two);
    env->ops->defer(env, &t->one);
    env->ops->defer(env, &t->two);
    assert_true(t->two.pending);
}

/* Deferred calls run at the end of the turn that asked, in order, those they defer after
 * them, and none that was taken back; also when asked for before the loop runs. */
static void deferred_calls_end_the_turn(void **state)
{
    (void)state;
    struct sim *sim = sim_new(5);
    struct env *a = sim_env(sim, "a:1");
    struct log log = { "", a };
    struct turn t = { &log, { .cb = defer_one }, { .cb = defer_two }, { .cb = defer_three } };
    t.one.arg = t.two.arg = t.three.arg = &t;
    struct mark later = { &log, 'x' };
    struct env_timer *first = a->ops->timer_new(a, turn_timer, &t);
    struct env_timer *second = a->ops->timer_new(a, put_mark, &later);
    a->ops->timer_start(first, 1);
    a->ops->timer_start(second, 1);
    sim_run(sim, 10);
    assert_string_equal(log.text, "213x");
    a->ops->defer(a, &t.one);
    a->ops->defer(a, &t.two);
    a->ops->undefer(a, &t.one);
    assert_false(t.one.pending);
    assert_string_equal(log.text, "213x");
    sim_run(sim, 1);
    assert_string_equal(log.text, "213x2");
    sim_free(sim);
}

struct job_state {
    struct env_job job;
    int ran, done;
};

static void job_run(struct env_job *job) { ((struct job_state *)job->arg)->ran++; }
static void job_done(struct env_job *job) { ((struct job_state *)job->arg)->done++; }
static bool has_run(void *arg) { return ((struct job_state *)arg)->ran > 0; }
static bool is_done(void *arg) { return ((struct job_state *)arg)->done > 0; }

/* A job runs and reports at different instants, so that a crash can fall between. */
static void jobs_run_then_report(void **state)
{
    (void)state;
    struct sim *sim = sim_new(6);
    struct env *a = sim_env(sim, "a:1");
    struct job_state j = { .job = { .run = job_run, .done = job_done } };
    j.job.arg = &j;
    a->ops->job(a, &j.job);
    assert_int_equal(j.ran, 0);
    assert_true(sim_run_until(sim, 100, has_run, &j));
    assert_int_equal(j.done, 0);
    assert_true(sim_run_until(sim, 100, is_done, &j));
    assert_int_equal(j.ran, 1);
    sim_free(sim);
}

/* ---- Network ------------------------------------------------------------------------ */

struct end {
    struct env *env;
    struct env_stream *stream;
    struct buf got;
    int connected, closed, status, drained, pieces;
    int connect_status;
};

static void end_data(void *arg, const uint8_t *bytes, size_t len)
{
    struct end *e = arg;
    assert_int_equal(e->closed, 0);
    e->pieces++;
    buf_put(&e->got, bytes, len);
}
static void end_drained(void *arg) { ((struct end *)arg)->drained++; }
static void end_closed(void *arg, int status)
{
    struct end *e = arg;
    e->closed++;
    e->status = status;
    e->stream = NULL;
}
static const struct env_stream_events end_events = { end_data, end_drained, end_closed };

static void end_start(struct end *e, struct env_stream *s)
{
    e->stream = s;
    e->env->ops->stream_start(s, &end_events, e);
}
static void end_accept(void *arg, struct env_stream *s) { end_start(arg, s); }
static void end_connected(void *arg, int status, struct env_stream *s)
{
    struct end *e = arg;
    e->connected++;
    e->connect_status = status;
    if (status == 0) {
        end_start(e, s);
    }
}

struct pair {
    struct sim *sim;
    struct end a, b;
};

static void pair_open(struct pair *p, uint64_t seed)
{
    memset(p, 0, sizeof *p);
    p->sim = sim_new(seed);
    p->a.env = sim_env(p->sim, "a:1");
    p->b.env = sim_env(p->sim, "[::1]:2");
    sim_listen(p->b.env, end_accept, &p->b);
    p->a.env->ops->connect(p->a.env, "[::1]:2", end_connected, &p->a);
    assert_int_equal(p->a.connected, 0);
    sim_run(p->sim, 10);
    assert_int_equal(p->a.connected, 1);
    assert_int_equal(p->a.connect_status, 0);
    assert_non_null(p->b.stream);
}

static uint64_t pair_close(struct pair *p)
{
    uint64_t hash = sim_trace_hash(p->sim);
    buf_free(&p->a.got);
    buf_free(&p->b.got);
    sim_free(p->sim);
    return hash;
}

static void send_text(struct end *e, const char *text)
{
    struct buf b = BUF_INIT;
    buf_put_str(&b, text);
    e->env->ops->stream_write(e->stream, &b);
    assert_null(b.data);
}

/* Both directions keep their order whatever the pieces; drained comes; a close ends the
 * other side with status 0 after all bytes. */
static void streams_keep_order(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, 7);
    struct buf all = BUF_INIT;
    for (int i = 0; i < 300; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d,", i);
        buf_put_str(&all, text);
        send_text(&p.a, text);
    }
    send_text(&p.b, "back");
    sim_run(p.sim, 1000);
    assert_int_equal(p.b.got.len, all.len);
    assert_memory_equal(p.b.got.data, all.data, all.len);
    assert_memory_equal(p.a.got.data, "back", 4);
    assert_true(p.a.drained > 0);
    assert_int_equal(p.a.env->ops->stream_queued(p.a.stream), 0);
    p.a.env->ops->stream_close(p.a.stream);
    assert_int_equal(p.a.closed, 0);
    sim_run(p.sim, 10);
    assert_int_equal(p.a.closed, 1);
    assert_int_equal(p.b.closed, 1);
    assert_int_equal(p.b.status, 0);
    buf_free(&all);
    (void)pair_close(&p);
}

/* The same seed gives the same run to the last bit; another seed does not. */
static void seeds_replay(void **state)
{
    (void)state;
    uint64_t hashes[3];
    uint64_t seeds[3] = { 42, 42, 43 };
    for (int run = 0; run < 3; run++) {
        struct pair p;
        pair_open(&p, seeds[run]);
        for (int i = 0; i < 50; i++) {
            send_text(&p.a, "hello");
            sim_run(p.sim, 1);
        }
        hashes[run] = pair_close(&p);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_true(hashes[0] != hashes[2]);
}

/* A blocked direction holds bytes back and gives them out in order when it opens; the
 * other direction works meanwhile; connecting through it times out. */
static void partitions_hold_bytes(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, 8);
    sim_block(p.sim, "a:1", "[::1]:2", true);
    send_text(&p.a, "one ");
    send_text(&p.a, "two");
    send_text(&p.b, "fine");
    sim_run(p.sim, 500);
    assert_int_equal(p.b.got.len, 0);
    assert_int_equal(p.a.got.len, 4);
    assert_int_equal(p.a.env->ops->stream_queued(p.a.stream), 7);
    struct end other = { .env = p.a.env };
    p.a.env->ops->connect(p.a.env, "[::1]:2", end_connected, &other);
    sim_run(p.sim, 5000);
    assert_int_equal(other.connect_status, ERR_IO);
    sim_heal(p.sim);
    sim_run(p.sim, 10);
    assert_int_equal(p.b.got.len, 7);
    assert_memory_equal(p.b.got.data, "one two", 7);
    (void)pair_close(&p);
}

/* A killed peer resets at once; one without power is silent, and resets what arrives
 * after its machine is back. */
static void crashes_look_right_from_outside(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, 9);
    sim_crash(p.b.env, SIM_KILL);
    sim_run(p.sim, 10);
    assert_int_equal(p.a.closed, 1);
    assert_int_equal(p.a.status, ERR_IO);
    assert_int_equal(p.b.closed, 1);
    p.a.env->ops->connect(p.a.env, "[::1]:2", end_connected, &p.a);
    sim_run(p.sim, 10);
    assert_int_equal(p.a.connect_status, ERR_IO);
    (void)pair_close(&p);

    pair_open(&p, 10);
    sim_crash(p.b.env, SIM_POWER_LOSS);
    send_text(&p.a, "anybody?");
    sim_run(p.sim, 60000);
    assert_int_equal(p.a.closed, 0);
    (void)sim_env(p.sim, "[::1]:2");
    send_text(&p.a, "again");
    sim_run(p.sim, 10);
    assert_int_equal(p.a.closed, 1);
    (void)pair_close(&p);
}

/* Each life of a node draws other random bytes; its wall clock follows the offset. */
static void clocks_and_randomness(void **state)
{
    (void)state;
    struct sim *sim = sim_new(11);
    struct env *a = sim_env(sim, "a:1");
    uint8_t one[16], two[16];
    a->ops->random(a, one, sizeof one);
    uint64_t wall = a->ops->wall_ms(a);
    uint64_t mono = a->ops->mono_ms(a);
    sim_set_wall_offset(a, -5000);
    sim_run(sim, 1000);
    assert_int_equal(a->ops->wall_ms(a), wall - 4000);
    assert_int_equal(a->ops->mono_ms(a), mono + 1000);
    sim_crash(a, SIM_KILL);
    a = sim_env(sim, "a:1");
    a->ops->random(a, two, sizeof two);
    assert_memory_not_equal(one, two, sizeof one);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_loss_keeps_synced_and_tears_the_rest),
        cmocka_unit_test(kill_keeps_written_bytes),
        cmocka_unit_test(names_need_sync_dir),
        cmocka_unit_test(failed_sync_is_final),
        cmocka_unit_test(crash_at_the_nth_write),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(timers_fire_in_order),
        cmocka_unit_test(deferred_calls_end_the_turn),
        cmocka_unit_test(jobs_run_then_report),
        cmocka_unit_test(streams_keep_order),
        cmocka_unit_test(seeds_replay),
        cmocka_unit_test(partitions_hold_bytes),
        cmocka_unit_test(crashes_look_right_from_outside),
        cmocka_unit_test(clocks_and_randomness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
