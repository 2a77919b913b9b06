/* The service over real cluster, policy and store in the simulated world: what a client is
 * told is what the log bears out, from any node, through duplicates and lost leaders. */
#include "service_world.h"

/* A booking at the leader and one at a follower both count; a second one is told which seat
 * is taken and not by whom; the answer's index is readable at any node with --min-index. */
static void test_book(void **state)
{
    (void)state;
    struct ask a[6] = { 0 };
    char order[200];
    struct world *w = three(1);
    struct node *l = world_wait_leader(w), *f = world_follower(w);
    granted(&a[0], l, "book 1 ann A1 A2");
    assert_string_equal(field(&a[0], "status", order), "booked");
    granted(&a[1], f, "hold 1 bob A3");
    refused(&a[2], f, ERR_TAKEN, "book 1 cyd A1");
    assert_non_null(strstr(a[2].e.message, "A1"));
    assert_null(strstr(a[2].e.message, "ann"));
    refused(&a[3], l, ERR_TAKEN, "book 1 cyd A3");
    granted(&a[4], f, "confirm %s", field(&a[1], "order", order));
    granted(&a[5], f, "seats 1 --local --min-index %lld", number(&a[4], "index"));
    assert_int_equal(number(&a[5], "booked"), 3);
    assert_true(number(&a[5], "index") >= number(&a[4], "index"));
    over(w, a, 6);
}

/* Requests that arrive together become few entries, and are all answered. */
static void test_batches(void **state)
{
    (void)state;
    enum { N = 800 };
    static struct ask a[N];
    struct world *w = three(2);
    struct node *l = world_wait_leader(w), *f = world_follower(w);
    struct service_counters before, after;
    service_counters(l->service, &before);
    for (int i = 0; i < N; i++) {
        ask(&a[i], i % 2 == 0 ? l : f, "book 1 c%d %c%d", i, 'A' + i / 100, i % 100 + 1);
    }
    for (int i = 0; i < N; i++) {
        ask_wait(&a[i]);
        assert_int_equal(a[i].code, 0);
    }
    service_counters(l->service, &after);
    assert_true(after.batches - before.batches < 40);
    service_counters(f->service, &after);
    assert_int_equal(after.forwarded, N / 2);
    over(w, a, N);
}

/* The same id with the same arguments has one effect and the same answer, wherever it is
 * asked and while the first is still in flight; with other arguments it is a CONFLICT. */
static void test_request_ids(void **state)
{
    (void)state;
    struct ask a[9] = { 0 };
    char first[200], again[200];
    struct world *w = three(3);
    struct node *l = world_wait_leader(w), *f = world_follower(w);
    ask(&a[0], l, "book 1 ann A1 --request r1");
    ask(&a[1], l, "book 1 ann A1 --request r1");
    ask(&a[2], f, "book 1 ann A1 --request r1");
    for (int i = 0; i < 3; i++) {
        ask_wait(&a[i]);
        assert_int_equal(a[i].code, 0);
        assert_string_equal(field(&a[i], "order", again), field(&a[0], "order", first));
    }
    refused(&a[3], f, ERR_CONFLICT, "book 1 ann A2 --request r1");
    refused(&a[4], l, ERR_TAKEN, "book 1 bob A1 --request r2");
    refused(&a[8], f, ERR_TAKEN, "book 1 bob A1 --request r2");
    assert_string_equal(a[8].e.message, a[4].e.message); /* the reason, not only the code */
    granted(&a[5], l, "cancel %s", field(&a[0], "order", first));
    /* The seat is free now, but this request was told that it is refused. */
    refused(&a[6], f, ERR_TAKEN, "book 1 bob A1 --request r2");
    granted(&a[7], l, "seats 1 --linearizable");
    assert_int_equal(number(&a[7], "booked"), 0);
    over(w, a, 9);
}

/* A dry run decides nothing and its id remains free. */
static void test_dry_run(void **state)
{
    (void)state;
    struct ask a[3] = { 0 };
    struct world *w = three(4);
    struct node *f = world_follower(w);
    granted(&a[0], f, "book 1 ann A1 --dry-run --request r1");
    granted(&a[1], f, "seats 1 --linearizable");
    assert_int_equal(number(&a[1], "booked"), 0);
    granted(&a[2], f, "book 1 bob A1 --request r1");
    over(w, a, 3);
}

/* Malformed, unknown and forbidden requests are refused at once, and say what is right. */
static void test_malformed(void **state)
{
    (void)state;
    struct ask a[5] = { 0 };
    struct world *w = three(5);
    struct node *f = world_follower(w);
    struct policy_user guest = { .name = { "gus", 3 }, .access = ACCESS_PUBLIC };
    struct policy_user nobody = { .name = { "", 0 }, .access = ACCESS_PUBLIC };
    refused(&a[0], f, ERR_NOTFOUND, "bok 1 ann A1");
    assert_non_null(strstr(a[0].e.message, "bok"));
    refused(&a[1], f, ERR_BADARG, "book 1");
    assert_non_null(strstr(a[1].e.hint, "usage"));
    ask_as(&a[2], f, guest, "book 1 ann A1");
    assert_int_equal(a[2].code, ERR_NOPERM);
    assert_non_null(strstr(a[2].e.message, "client"));
    ask_as(&a[3], f, nobody, "book 1 ann A1");
    assert_int_equal(a[3].code, ERR_NOAUTH);
    ask_as(&a[4], f, nobody, "seats 1 --linearizable");
    ask_wait(&a[4]);
    assert_int_equal(a[4].code, 0);
    over(w, a, 5);
}

/* A linearizable read at a follower sees what was acknowledged before it began. */
static void test_linearizable(void **state)
{
    (void)state;
    struct ask a[21] = { 0 };
    struct world *w = three(6);
    struct node *l = world_wait_leader(w), *f = world_follower(w);
    for (int i = 0; i < 10; i++) {
        granted(&a[2 * i], l, "book 1 ann A%d", i + 1);
        granted(&a[2 * i + 1], f, "seats 1 --linearizable");
        assert_int_equal(number(&a[2 * i + 1], "booked"), i + 1);
    }
    over(w, a, 21);
}

/* A local read at a leader shows what has committed, never its speculation. */
static void test_local_read(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    struct world *w = three(17);
    struct node *l = world_wait_leader(w);
    granted(&a[0], l, "book 1 ann A1");
    sim_isolate(w->sim, l->address);
    ask(&a[1], l, "book 1 ann A2 A3");
    sim_run(w->sim, 1);
    granted(&a[2], l, "seats 1 --local");
    assert_int_equal(a[1].answers, 0);
    assert_int_equal(number(&a[2], "booked"), 1);
    assert_int_equal(number(&a[2], "index"), number(&a[0], "index"));
    sim_heal(w->sim);
    ask_wait(&a[1]);
    granted(&a[3], l, "seats 1 --linearizable");
    assert_int_equal(number(&a[3], "booked"), a[1].code == 0 ? 3 : 1);
    over(w, a, 4);
}

/* An isolated leader answers nothing that rests on its leadership: no grant, no refusal, no
 * linearizable read. Its booking without an id becomes UNKNOWN, the one with an id is
 * settled by the new leader, the refusal is decided again. */
static void test_isolated_leader(void **state)
{
    (void)state;
    struct ask a[8] = { 0 };
    char order[200];
    struct world *w = three(7);
    struct node *l = world_wait_leader(w);
    sim_isolate(w->sim, l->address);
    ask(&a[0], l, "book 1 ann A1");
    ask(&a[1], l, "book 1 ann A2 --request r1");
    sim_run(w->sim, 1);
    ask(&a[2], l, "book 1 bob A1"); /* refused on speculation only */
    ask(&a[3], l, "seats 1 --linearizable");
    sim_run(w->sim, 300);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(a[i].answers, 0);
    }
    l->paused = true; /* for world_wait_leader: not the one we want */
    struct node *other = world_wait_leader(w);
    assert_ptr_not_equal(other, l);
    granted(&a[4], other, "book 1 cyd A1");
    l->paused = false;
    sim_heal(w->sim);
    for (int i = 0; i < 4; i++) {
        ask_wait(&a[i]);
    }
    assert_int_equal(a[0].code, ERR_UNKNOWN);
    assert_non_null(strstr(a[0].e.hint, "--request"));
    assert_int_equal(a[1].code, 0);
    assert_int_equal(a[2].code, ERR_TAKEN);
    assert_true(a[2].answered_ms > a[4].answered_ms);
    granted(&a[5], l, "book 1 ann A2 --request r1");
    assert_string_equal(field(&a[5], "order", order), field(&a[1], "order", a[6].words));
    granted(&a[6], l, "seats 1 --linearizable");
    assert_int_equal(number(&a[6], "booked"), 2);
    /* Nothing of its speculation is left: it serves from the same state as the others. */
    granted(&a[7], l, "seats 1 --local --min-index %lld", number(&a[6], "index"));
    assert_int_equal(number(&a[7], "booked"), 2);
    over(w, a, 8);
}

/* Bookings that follow each other through followers while the leader is killed: each is
 * answered once, none is lost and none is booked twice. */
static void kill_leader(uint64_t seed, enum sim_crash how)
{
    enum { N = 300 };
    static struct ask a[N], all;
    struct world *w = three(seed);
    struct node *l = world_wait_leader(w), *f = world_follower(w);
    unsigned granted_count = 0;
    for (int i = 0; i < N; i++) {
        ask(&a[i], f, "book 1 c%d %c%d", i, 'A' + i / 100, i % 100 + 1);
        if (i == N / 2) { /* a hundred are on their way, committed or not */
            sim_run(w->sim, 1 + seed % 5);
            node_crash(l, how);
        } else if (i < N / 2 - 100 || i > N / 2) {
            sim_run(w->sim, sim_rand(w->sim, 4));
        }
    }
    for (int i = 0; i < N; i++) {
        ask_wait(&a[i]);
        assert_true(a[i].code == 0 || a[i].code == ERR_NOQUORUM);
        granted_count += a[i].code == 0;
    }
    assert_true(granted_count > N / 2);
    granted(&all, f, "seats 1 --linearizable");
    assert_int_equal(number(&all, "booked"), granted_count);
    ask_free(&all);
    over(w, a, N);
}

static void test_kill_leader(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 110; seed++) {
        kill_leader(seed, seed % 2 == 0 ? SIM_KILL : SIM_POWER_LOSS);
    }
}

/* A booking that has committed, but whose answer died with the leader, is granted to the one
 * who asked: the follower asks the next leader under the id it gave. */
static void test_lost_answer(void **state)
{
    (void)state;
    struct ask a[2] = { 0 };
    struct world *w = three(16);
    struct node *l = world_wait_leader(w), *f = world_follower(w);
    sim_run(w->sim, 200);
    sim_block(w->sim, l->address, f->address, true);
    ask(&a[0], f, "best 1 ann 1 --book"); /* twice would be two seats */
    sim_run(w->sim, 50);
    struct ask seen = { 0 };
    granted(&seen, l, "seats 1 --linearizable");
    assert_int_equal(number(&seen, "booked"), 1);
    ask_free(&seen);
    assert_int_equal(a[0].answers, 0);
    node_crash(l, SIM_KILL);
    sim_heal(w->sim);
    ask_wait(&a[0]);
    assert_int_equal(a[0].code, 0);
    granted(&a[1], f, "seats 1 --linearizable");
    assert_int_equal(number(&a[1], "booked"), 1);
    over(w, a, 2);
}

/* Without a majority a write is refused within two seconds, with the nodes to start; one
 * that may be in a log is UNKNOWN at its deadline; local reads go on. */
static void test_no_quorum(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    struct world *w = three(8);
    struct node *l = world_wait_leader(w), *f = world_follower(w), *third = NULL;
    for (unsigned i = 0; i < 3; i++) {
        third = &w->nodes[i] != l && &w->nodes[i] != f ? &w->nodes[i] : third;
    }
    sim_run(w->sim, 500); /* everybody has what was committed */
    node_crash(l, SIM_KILL);
    node_crash(third, SIM_KILL);
    sim_run(w->sim, 3000);
    uint64_t asked = sim_now(w->sim);
    ask(&a[0], f, "book 1 ann A1");
    ask(&a[1], f, "book 1");
    ask(&a[2], f, "seats 1 --linearizable");
    for (int i = 0; i < 3; i++) {
        ask_wait(&a[i]);
        assert_true(a[i].answered_ms - asked <= 2000);
    }
    assert_int_equal(a[0].code, ERR_NOQUORUM);
    assert_non_null(strstr(a[0].e.hint, l->address));
    assert_int_equal(a[1].code, ERR_BADARG);
    assert_int_equal(a[2].code, ERR_NOQUORUM);
    granted(&a[3], f, "seats 1 --local");
    over(w, a, 4);
}

/* A leader that loses its majority tells its clients UNKNOWN by the deadline, not never. */
static void test_deadline(void **state)
{
    (void)state;
    struct ask a = { 0 };
    struct world *w = three(9);
    struct node *l = world_wait_leader(w);
    for (unsigned i = 0; i < 3; i++) {
        if (&w->nodes[i] != l) {
            sim_pause(w->nodes[i].env);
            w->nodes[i].paused = true;
        }
    }
    uint64_t asked = sim_now(w->sim);
    memset(&a, 0, sizeof a);
    a.r.deadline_ms = l->env->ops->mono_ms(l->env) + 150;
    a.w = w;
    a.argv[0] = span_of("book");
    a.argv[1] = span_of("1");
    a.argv[2] = span_of("ann");
    a.argv[3] = span_of("A1");
    a.r.argv = a.argv;
    a.r.argc = 4;
    a.r.user = ask_admin();
    a.r.cb = ask_answered;
    a.r.arg = &a;
    service_submit(l->service, &a.r);
    ask_wait(&a);
    assert_int_equal(a.code, ERR_UNKNOWN);
    assert_in_range(a.answered_ms - asked, 150, 300); /* before the leader gives up */
    over(w, &a, 1);
}

/* A leader that stops while reads and refusals wait for a proof ends, and answers them. */
static void test_stop_with_reads(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    struct world *w = three(15);
    struct node *l = world_wait_leader(w);
    granted(&a[0], l, "book 1 ann A1");
    sim_isolate(w->sim, l->address);
    ask(&a[1], l, "seats 1 --linearizable");
    ask(&a[2], l, "book 1 bob A1"); /* refused, nothing written: waits for a round */
    sim_run(w->sim, 5);
    ask(&a[3], l, "seats 1 --linearizable");
    node_stop(l);
    for (int i = 1; i < 4; i++) {
        assert_int_equal(a[i].answers, 1);
        assert_int_not_equal(a[i].code, 0);
        assert_int_not_equal(a[i].code, ERR_TAKEN);
    }
    over(w, a, 4);
}

/* A hold ends by itself at its time, on every node, and its seat is told and free. */
struct seen {
    unsigned count;
    char last[400];
};

static void on_any_change(void *arg, struct span event, uint64_t index, struct span json)
{
    struct seen *s = arg;
    (void)event;
    assert_true(index > 0);
    s->count++;
    (void)snprintf(s->last, sizeof s->last, "%.*s", (int)json.len, json.data);
}

static void on_change(void *arg, struct span event, uint64_t index, struct span json)
{
    assert_true(span_is(event, "1"));
    on_any_change(arg, event, index, json);
}

static void test_expiry_and_watch(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    char order[200];
    struct seen here = { 0 }, other = { 0 };
    struct world *w = three(10);
    struct node *l = world_wait_leader(w), *f = world_follower(w);
    struct watch *watch = service_watch(f->service, span_of("1"), on_change, &here);
    struct watch *elsewhere = service_watch(f->service, span_of("2"), on_change, &other);
    struct watch *all = service_watch(l->service, span_of(""), on_change, &other);
    granted(&a[0], f, "hold 1 ann A1 A2 --ttl 60");
    granted(&a[1], f, "seats 1 --min-index %lld", number(&a[0], "index"));
    assert_int_equal(here.count, 1);
    assert_non_null(strstr(here.last, "\"changes\":[{\"seat\":\"A1\",\"status\":\"held\"},"
                                      "{\"seat\":\"A2\",\"status\":\"held\"}]"));
    sim_run(w->sim, 62000);
    assert_int_equal(here.count, 2);
    assert_non_null(strstr(here.last, "{\"seat\":\"A1\",\"status\":\"free\"}"));
    assert_int_equal(other.count, 2);
    refused(&a[2], l, ERR_EXPIRED, "confirm %s", field(&a[0], "order", order));
    granted(&a[3], f, "book 1 bob A1 A2");
    service_unwatch(watch);
    service_unwatch(elsewhere);
    service_unwatch(all);
    over(w, a, 4);
}

/* Whoever follows an event is told that it has gone, with sold seats or without. */
static void test_watch_removed(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    struct seen sold = { 0 }, empty = { 0 }, all = { 0 };
    struct world *w = three(10);
    struct node *l = world_wait_leader(w);
    struct watch *watches[] = { service_watch(l->service, span_of("1"), on_any_change, &sold),
                                service_watch(l->service, span_of("tmp"), on_any_change, &empty),
                                service_watch(l->service, span_of(""), on_any_change, &all) };
    granted(&a[0], l, "book 1 ann A1 A2");
    granted(&a[1], l, "add-event tmp [{\"row\":\"A\",\"seats\":4}]");
    granted(&a[2], l, "remove-event tmp");
    assert_int_equal(empty.count, 1);
    assert_non_null(strstr(empty.last, ",\"changes\":[],\"removed\":true}"));
    granted(&a[3], l, "remove-event 1 --cancel-orders");
    assert_non_null(strstr(sold.last, "{\"event\":\"1\",\"index\":"));
    assert_non_null(strstr(sold.last, "\"removed\":true"));
    assert_string_equal(sold.last, all.last);
    for (size_t i = 0; i < 3; i++) {
        service_unwatch(watches[i]);
    }
    over(w, a, 4);
}

/* A canceled request is not answered, and one that was not decided is not carried out. */
static void test_cancel(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    struct world *w = three(11);
    struct node *l = world_wait_leader(w), *f = world_follower(w);
    ask(&a[0], l, "book 1 ann A1");
    service_cancel(l->service, &a[0].r);
    ask(&a[1], f, "book 1 ann A2");
    sim_run(w->sim, 0);
    service_cancel(f->service, &a[1].r);
    ask(&a[2], l, "seats 1");
    service_cancel(l->service, &a[2].r);
    sim_run(w->sim, 1000);
    assert_int_equal(a[0].answers + a[1].answers + a[2].answers, 0);
    granted(&a[3], l, "seats 1 --linearizable");
    assert_true(number(&a[3], "booked") <= 1);
    over(w, a, 4);
}

/* More than may wait is BUSY, at once. */
static void test_busy(void **state)
{
    (void)state;
    struct world *w = three(12);
    struct node *l = world_wait_leader(w);
    size_t n = QUEUE_REQUESTS_MAX + 10, busy = 0;
    struct ask *a = calloc(n, sizeof *a);
    for (size_t i = 0; i < n; i++) {
        ask(&a[i], l, "book 1 ann A1");
        busy += a[i].answers == 1 && a[i].code == ERR_BUSY;
    }
    assert_int_equal(busy, 10);
    for (size_t i = 0; i < n; i++) {
        ask_wait(&a[i]);
        ask_free(&a[i]);
    }
    free(a);
    over(w, NULL, 0);
}

/* Two runs from one seed are the same, Lua included. */
static uint64_t traced(uint64_t seed)
{
    struct ask a[20] = { 0 };
    struct world *w = three(seed);
    for (int i = 0; i < 20; i++) {
        ask(&a[i], &w->nodes[i % 3], "hold 1 c%d A%d", i, (int)sim_rand(w->sim, 10) + 1);
        sim_run(w->sim, sim_rand(w->sim, 3));
    }
    for (int i = 0; i < 20; i++) {
        ask_wait(&a[i]);
    }
    uint64_t hash = sim_trace_hash(w->sim);
    over(w, a, 20);
    return hash;
}

static void test_replay(void **state)
{
    (void)state;
    assert_int_equal(traced(13), traced(13));
    assert_int_not_equal(traced(13), traced(14));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_book),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_request_ids),
        cmocka_unit_test(test_dry_run),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_linearizable),
        cmocka_unit_test(test_local_read),
        cmocka_unit_test(test_isolated_leader),
        cmocka_unit_test(test_kill_leader),
        cmocka_unit_test(test_lost_answer),
        cmocka_unit_test(test_no_quorum),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_stop_with_reads),
        cmocka_unit_test(test_expiry_and_watch),
        cmocka_unit_test(test_watch_removed),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
