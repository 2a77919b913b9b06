/* Backups and read indices in simulated clusters; backup files read back, whole and damaged;
 * recovery of a survivor's directory. */
#include "cluster/backup.h"
#include "cluster/recover.h"
#include "cluster/restore.h"
#include "world.h"

/* ---- Taking ------------------------------------------------------------------------------ */

struct taken {
    struct cluster_backup *b;
    struct buf file;
    struct backup_head head;
    unsigned pieces, stop_after; /* 0: take all */
    bool ended;
    int status;
};

static void on_piece(void *arg, int status, const struct error *e, struct buf *bytes, bool last)
{
    struct taken *t = arg;
    t->status = status;
    t->pieces++;
    if (status == 0) {
        assert_null(e);
        buf_put(&t->file, bytes->data, bytes->len);
        t->head = *cluster_backup_head(t->b);
        assert_true(cluster_backup_bytes(t->b) == t->file.len);
    }
    t->ended = status != 0 || last || t->pieces == t->stop_after;
    if (!t->ended) {
        cluster_backup_next(t->b, on_piece, t);
    }
}

static bool has_ended(void *arg) { return ((struct taken *)arg)->ended; }

static void take(struct node *n, bool stale, struct taken *t)
{
    memset(t, 0, sizeof *t);
    t->b = cluster_backup_new(n->c, stale);
    cluster_backup_next(t->b, on_piece, t);
    assert_true(sim_run_until(n->w->sim, 20000, has_ended, t));
    cluster_backup_free(t->b);
}

static void put_file(struct env *env, const char *path, const void *data, size_t len)
{
    struct error e = { 0 };
    struct env_file *f;
    assert_int_equal(env->ops->file_open(env, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &f, &e),
                     0);
    assert_int_equal(env->ops->file_write(f, 0, data, len, &e), 0);
    env->ops->file_close(f);
}

/* From every node, leader or not: all that was acknowledged before, of one index, and the file
 * loads again with the digest it states. */
static void test_from_every_node(void **state)
{
    (void)state;
    struct world *w = world_new(1, 3);
    world_start(w);
    world_wait_leader(w);
    for (unsigned k = 0; k < 6; k++) {
        struct taken t;
        struct restore_result r;
        struct error e = { 0 };
        unsigned i = k % 3;
        world_propose(w, 20);
        take(&w->nodes[i], false, &t);
        assert_int_equal(t.status, 0);
        assert_true(t.head.index >= node_status(&w->nodes[i]).commit);
        put_file(w->nodes[i].env, "/data/file", t.file.data, t.file.len);
        assert_int_equal(restore_verify(w->nodes[i].env, "/data/file", &r, &e), 0);
        assert_true(r.head.digest == node_status(&w->nodes[i]).digest);
        assert_int_equal(r.stats.kv, w->acks);
        assert_true(r.head.cluster_id == node_status(&w->nodes[i]).cluster_id);
        assert_string_equal(r.head.address, w->nodes[i].address);
        buf_free(&t.file);
    }
    world_check(w);
    world_free(w);
}

/* A snapshot file that has rotted is written anew, and the backup is made from that. */
static void test_from_a_damaged_snapshot(void **state)
{
    (void)state;
    struct world *w = world_new(5, 1);
    char path[128];
    world_start(w);
    world_wait_leader(w);
    world_propose(w, 20);
    struct node *n = &w->nodes[0];
    cluster_snapshot(n->c, on_nothing, NULL);
    sim_run(w->sim, 1000);
    struct cluster_status s = node_status(n);
    assert_true(s.snapshot_index == s.applied);
    (void)snprintf(path, sizeof path, "/data/a/snapshot-%016llx-%016llx",
                   (unsigned long long)s.snapshot_index, (unsigned long long)s.term);
    assert_true(sim_flip_bit(n->env, path, 300, 3));
    struct taken t;
    struct restore_result r;
    struct error e = { 0 };
    take(n, false, &t);
    assert_int_equal(t.status, 0);
    put_file(n->env, "/data/file", t.file.data, t.file.len);
    assert_int_equal(restore_verify(n->env, "/data/file", &r, &e), 0);
    assert_int_equal(r.stats.kv, w->acks);
    buf_free(&t.file);
    world_free(w);
}

static void check_damaged(struct env *env, const uint8_t *data, size_t len)
{
    struct restore_result r;
    struct error e = { 0 };
    put_file(env, "/data/file", data, len);
    int rv = restore_verify(env, "/data/file", &r, &e);
    if ((rv != ERR_CORRUPT && rv != ERR_BADARG) || e.hint[0] == '\0') {
        fail_msg("%zu bytes pass: %d %s", len, rv, e.message);
    }
}

/* Every bit that is turned over, every length it is cut to, everything appended is noticed before
 * anything could be written. */
static void test_any_damage_is_seen(void **state)
{
    (void)state;
    struct world *w = world_new(2, 1);
    world_start(w);
    world_wait_leader(w);
    world_propose(w, 12);
    struct taken t;
    struct restore_result r;
    struct error e = { 0 };
    struct env *env = w->nodes[0].env;
    take(&w->nodes[0], false, &t);
    assert_int_equal(t.status, 0);
    check_damaged(env, t.file.data, 0);
    for (size_t i = 0; i < t.file.len; i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));
        t.file.data[i] ^= bit;
        check_damaged(env, t.file.data, t.file.len);
        t.file.data[i] ^= bit;
        check_damaged(env, t.file.data, i);
    }
    buf_put_u8(&t.file, 0);
    check_damaged(env, t.file.data, t.file.len);
    put_file(env, "/data/file", t.file.data, t.file.len - 1);
    assert_int_equal(restore_verify(env, "/data/file", &r, &e), 0);
    buf_free(&t.file);
    world_free(w);
}

/* Given up at any moment, also while a piece is being read or a proof is under way, it is gone
 * without a trace; the node stops in the middle of one. */
static void test_given_up(void **state)
{
    (void)state;
    int64_t live = mem_test_live();
    struct world *w = world_new(3, 3);
    world_start(w);
    world_wait_leader(w);
    w->value_bytes = 20000;
    world_propose(w, 60);
    for (unsigned pieces = 1; pieces < 4; pieces++) {
        struct taken t = { .stop_after = pieces };
        t.b = cluster_backup_new(w->nodes[1].c, false);
        cluster_backup_next(t.b, on_piece, &t);
        assert_true(sim_run_until(w->sim, 20000, has_ended, &t));
        assert_int_equal(t.status, 0);
        assert_int_equal(t.pieces, pieces);
        cluster_backup_free(t.b);
        buf_free(&t.file);
    }
    for (unsigned ms = 0; ms < 20; ms++) { /* while something of it is out */
        struct taken t = { 0 };
        t.b = cluster_backup_new(w->nodes[ms % 3].c, false);
        cluster_backup_next(t.b, on_piece, &t);
        sim_run(w->sim, ms);
        cluster_backup_free(t.b);
        t.ended = true;
        buf_free(&t.file);
    }
    struct taken last = { .stop_after = 1 };
    last.b = cluster_backup_new(w->nodes[0].c, false);
    cluster_backup_next(last.b, on_piece, &last);
    world_free(w); /* with the question out */
    assert_true(last.ended && last.status != 0);
    cluster_backup_free(last.b);
    buf_free(&last.file);
    assert_true(mem_test_live() == live);
}

/* Without a majority: NOQUORUM with what to do instead, and what the node has with `stale`. */
static void test_without_majority(void **state)
{
    (void)state;
    struct world *w = world_new(4, 3);
    world_start(w);
    world_wait_leader(w);
    world_propose(w, 5);
    node_crash(&w->nodes[1], SIM_KILL);
    node_crash(&w->nodes[2], SIM_KILL);
    sim_run(w->sim, 3000);
    struct taken t;
    take(&w->nodes[0], false, &t);
    assert_int_equal(t.status, ERR_NOQUORUM);
    assert_int_equal(t.file.len, 0);
    take(&w->nodes[0], true, &t);
    assert_int_equal(t.status, 0);
    assert_true(t.head.index >= 5);
    buf_free(&t.file);
    world_free(w);
}

/* ---- The read index -------------------------------------------------------------------------- */

struct asked {
    bool done;
    int status;
    uint64_t index;
};

static void on_index(void *arg, int status, uint64_t index)
{
    struct asked *a = arg;
    assert_false(a->done);
    *a = (struct asked){ true, status, index };
}

static bool is_answered(void *arg) { return ((struct asked *)arg)->done; }

/* Whoever is asked, also while the leader dies: never below what was acknowledged before. */
static void test_read_index(void **state)
{
    (void)state;
    for (uint64_t seed = 10; seed < 30; seed++) {
        struct world *w = world_new(seed, 3);
        world_start(w);
        world_wait_leader(w);
        world_propose(w, 3);
        struct node *leader = world_leader(w);
        uint64_t acknowledged = leader->committed_index;
        struct asked a[3] = { 0 };
        if (seed % 2 == 0) { /* cut off: its followers do not know yet */
            sim_isolate(w->sim, leader->address);
        }
        for (unsigned i = 0; i < 3; i++) {
            cluster_read_index(w->nodes[i].c, on_index, &a[i]);
        }
        sim_run(w->sim, seed);
        if (seed % 2 == 1) {
            node_crash(leader, SIM_KILL);
        }
        for (unsigned i = 0; i < 3; i++) {
            assert_true(sim_run_until(w->sim, 20000, is_answered, &a[i]));
            struct node *n = &w->nodes[i];
            if (n == leader) {
                assert_true(a[i].status != 0 || seed % 2 == 1);
            } else {
                assert_int_equal(a[i].status, 0);
            }
            if (a[i].status == 0) {
                assert_true(a[i].index >= acknowledged);
                assert_true(!n->running || node_status(n).applied >= a[i].index);
            }
        }
        sim_heal(w->sim);
        world_free(w);
    }
}

/* An answer that was on its way for long is not taken for the answer to a later question. */
static void test_old_answer(void **state)
{
    (void)state;
    for (uint64_t seed = 60; seed < 80; seed++) {
        struct world *w = world_new(seed, 3);
        world_start(w);
        world_wait_leader(w);
        world_propose(w, 3);
        struct node *leader = world_leader(w);
        struct node *n = leader == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
        struct asked first = { 0 }, second = { 0 };
        cluster_read_index(n->c, on_index, &first);
        sim_run(w->sim, seed % 4);
        sim_block(w->sim, leader->address, n->address, true);
        sim_run(w->sim, 40);
        n->outside = true;
        world_propose(w, 3);
        uint64_t acknowledged = leader->committed_index;
        cluster_read_index(n->c, on_index, &second);
        sim_heal(w->sim);
        assert_true(sim_run_until(w->sim, 20000, is_answered, &second));
        assert_true(sim_run_until(w->sim, 20000, is_answered, &first));
        assert_int_equal(second.status, 0);
        assert_true(second.index >= acknowledged);
        world_free(w);
    }
}

/* ---- Recovery ----------------------------------------------------------------------------------
 */

static void on_done(void *arg) { *(bool *)arg = true; }
static bool is_true(void *arg) { return *(bool *)arg; }

static void recover(struct node *n, struct recover_result *result, bool power_lost)
{
    struct recover_facts facts;
    struct error e = { 0 };
    bool done = false, pending = false;
    char dir[32];
    (void)snprintf(dir, sizeof dir, "/data/%c", n->address[0]);
    if (sim_is_ghost(n->env)) {
        n->env = sim_env(n->w->sim, n->address);
    }
    assert_int_equal(recover_look(n->env, dir, &facts, &e), 0);
    assert_int_equal(recover_write(n->env, dir, &facts, result, on_done, &done, &pending, &e), 0);
    assert_true(pending);
    if (power_lost) { /* term and identity are on disk, the configuration is not */
        sim_crash(n->env, SIM_POWER_LOSS);
    }
    assert_true(sim_run_until(n->w->sim, 10000, is_true, &done));
    if (!power_lost) {
        assert_int_equal(result->status, 0);
        sim_crash(n->env, SIM_KILL); /* the program has ended */
    }
}

static void crash_all(struct world *w)
{
    for (unsigned i = 0; i < 3; i++) {
        node_crash(&w->nodes[i], SIM_KILL);
    }
}

/* A survivor leads alone with everything that it had, in another cluster and in a new term; the
 * others come back and can neither join nor outvote it. Power lost half-way: once more. */
static void check_recovery(uint64_t seed, uint64_t snapshot_bytes, bool power_lost)
{
    struct world *w = world_new(seed, 3);
    struct recover_result r;
    w->snapshot_bytes = snapshot_bytes;
    world_start(w);
    world_wait_leader(w);
    world_propose(w, 30);
    struct cluster_status before = node_status(&w->nodes[2]);
    uint64_t term = before.term, cluster = before.cluster_id, last = before.last;
    crash_all(w);
    if (power_lost) {
        recover(&w->nodes[2], &r, true);
    }
    recover(&w->nodes[2], &r, false);
    assert_true(r.term > term && r.cluster_id != cluster && r.cluster_id != 0);
    assert_true(r.index == last + 1);

    struct node *n = &w->nodes[2];
    node_start(n);
    assert_true(world_wait_leader(w) == n);
    struct cluster_status s = node_status(n);
    assert_int_equal(s.members_count, 1);
    assert_true(s.term > r.term && s.cluster_id == r.cluster_id);
    world_propose(w, 5);
    for (unsigned k = 0; k < w->acks; k++) {
        assert_true(node_has(n, w->acked[k]));
    }
    w->nodes[0].outside = w->nodes[1].outside = true;
    node_start(&w->nodes[0]);
    node_start(&w->nodes[1]); /* the old majority: alive in its own, old cluster */
    sim_run(w->sim, 10000);
    assert_true(node_status(&w->nodes[0]).cluster_id == cluster);
    assert_int_equal(node_status(n).role, ROLE_LEADER);
    assert_int_equal(node_status(n).members_count, 1);
    assert_true(node_status(n).term == s.term);
    world_free(w);
}

static void test_recover(void **state)
{
    (void)state;
    check_recovery(40, 0, false);
    check_recovery(41, 0, true);
    check_recovery(42, 600, false);
    check_recovery(43, 600, true);
}

/* Which log is newer is Raft's own rule: the last term first, then the length. */
static void test_compare(void **state)
{
    (void)state;
    struct recover_facts a = { .last_index = 10, .last_term = 3 };
    struct recover_facts b = { .last_index = 90, .last_term = 2 };
    assert_true(recover_compare(&a, &b) > 0 && recover_compare(&b, &a) < 0);
    b.last_term = 3;
    assert_true(recover_compare(&a, &b) < 0 && recover_compare(&b, &a) > 0);
    b.last_index = 10;
    assert_int_equal(recover_compare(&a, &b), 0);
}

/* A directory that changed after it was looked at is left alone; so is one never founded. */
static void test_recover_refuses(void **state)
{
    (void)state;
    struct world *w = world_new(50, 3);
    struct recover_facts facts;
    struct recover_result r;
    struct error e = { 0 };
    bool done = false, pending = true;
    node_start(&w->nodes[0]);
    sim_run(w->sim, 500);
    node_crash(&w->nodes[0], SIM_KILL);
    struct env *env = sim_env(w->sim, "a:1");
    assert_int_equal(recover_look(env, "/data/a", &facts, &e), ERR_NOTREADY);
    assert_int_equal(recover_look(env, "/data/nothing", &facts, &e), ERR_NOTFOUND);
    sim_crash(env, SIM_KILL);

    world_start(w);
    world_wait_leader(w);
    world_propose(w, 3);
    crash_all(w);
    env = sim_env(w->sim, "a:1");
    assert_int_equal(recover_look(env, "/data/a", &facts, &e), 0);
    facts.last_index--;
    assert_int_equal(recover_write(env, "/data/a", &facts, &r, on_done, &done, &pending, &e),
                     ERR_CONFLICT);
    assert_true(pending);
    assert_true(sim_run_until(w->sim, 10000, is_true, &done));
    sim_crash(env, SIM_KILL);
    world_start(w);
    world_wait_leader(w);
    world_check(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_every_node),
        cmocka_unit_test(test_from_a_damaged_snapshot),
        cmocka_unit_test(test_any_damage_is_seen),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_without_majority),
        cmocka_unit_test(test_read_index),
        cmocka_unit_test(test_old_answer),
        cmocka_unit_test(test_recover),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_recover_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
