/* Hooks of a policy: when they run, what becomes of an operation whose hook fails, and expiries,
 * which happen whatever a hook does. */
#include "house.h"

/* Hooks run after the effect and may add to it; one that fails refuses the command. */
static void test_hooks(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("hooks = { take = function(tx, o) tx:set('take', o.customer) if o.customer == 'bad' "
              "then deny 'hook says no' end end, confirm = function(tx, o) tx:set('confirm', "
              "o.status) end, release = function(tx, o) tx:set('release', o.status) end, cancel = "
              "function(tx, o) tx:set('cancel', o.status) end, reseat = function(tx, o) "
              "tx:set('reseat', #o.seats) end, expire = function(tx, o) tx:set('expire', o.status) "
              "end },",
              "return {}"),
           "" },
         { "book 1 bad A1", "!DENIED hook says no" }, { "get take", "!NOTFOUND" },
         { "x = hold 1 ann A1", "{}" }, { "get take", "{'value':'ann'}" }, { "confirm $x", "{}" },
         { "get confirm", "{'value':'booked'}" }, { "move $x A1 A2", "{}" },
         { "get reseat", "{'value':1}" }, { "cancel $x", "{}" },
         { "get cancel", "{'value':'cancelled'}" }, { "x = hold 1 ann A1", "{}" },
         { "release $x", "{}" }, { "get release", "{'value':'released'}" },
         { "x = hold 1 ann A1 --ttl 10", "{}" }, { "pass 11s", "" },
         { "get expire", "{'value':'expired'}" });
}

/* An operation whose hook fails has no effect, also when the script goes on. */
static void test_hook_caught(void **state)
{
    (void)state;
    PLAY(
        HOUSE,
        { DO("hooks = { take = function() deny 'no take' end, cancel = function() deny 'no cancel' "
             "end },",
             "local ok, e = pcall(tx.take, tx, { customer = 'c', seats = req.seats }) return { ok "
             "= "
             "ok, why = e.message, status = req.seats[1].status }"),
          "" },
        { "t 1 A1", "{'ok':false,'why':'no take','status':'free'}" },
        { "seats 1", "{'taken':{}}" });
}

/* Expiry always happens: a hook that fails, loops or denies loses its own effects only. */
static void test_expire_hook_fails(void **state)
{
    (void)state;
    static const char *const bodies[] = { "deny 'no'", "error 'bug'", "while true do end",
                                          "local s = 'x' while true do s = s .. s end" };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        char policy[600];
        snprintf(policy, sizeof policy,
                 "policy return policy { name = 'p', hooks = { expire = function(tx, o) "
                 "tx:set('mark', 1) %s end } }",
                 bodies[i]);
        PLAY(HOUSE, { policy, "" }, { "x = hold 1 ann A1 --ttl 10", "{}" },
             { "y = hold 1 bob A2 --ttl 10", "{}" }, { "pass 11s", "" },
             { "order $x", "{'status':'expired'}" }, { "order $y", "{'status':'expired'}" },
             { "get mark", "!NOTFOUND" }, { "seats 1", "{'counts':{'free':7}}" });
    }
}

static bool not_another(void *arg, const char *command, struct span effects)
{
    (void)arg;
    assert_string_equal(command, POLICY_EXPIRE);
    assert_true(effects.len > 0);
    return false;
}

/* Whoever runs expiries says after each whether there is time for another. */
static void test_expire_in_parts(void **state)
{
    (void)state;
    struct play p;
    play_open(&p);
    play(&p, "add-event 1 [{'row':'A','seats':4}]", "{}");
    play(&p, "hold 1 ann A1 --ttl 10", "{}");
    play(&p, "hold 1 bob A2 --ttl 10", "{}");
    p.now_ms += 11000;
    for (size_t left = 2; left > 0; left--) {
        play_begin(&p);
        assert_int_equal(
            policy_expire(p.policy, p.store, p.now_ms, p.index, 1000, not_another, NULL), 1);
        play_end(&p);
    }
    assert_null(store_next_expiry(p.store));
    play_close(&p);
}

/* Hooks that make effects run hooks, but not for ever. */
static void test_hook_depth(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("hooks = { take = function(tx, o) tx:take { customer = 'c', seats = { 'FLOOR' }, "
              "event "
              "= o.event } end },",
              "return {}"),
           "" },
         { "book 1 ann A1", "!INTERNAL more than 8 deep" },
         { DO("hooks = { take = function(tx, o) if o.customer == 'ann' then tx:take { customer = "
              "'gift', seats = { 'FLOOR' }, event = o.event } end end },",
              "return {}"),
           "" },
         { "book 1 ann A1", "{'customer':'ann'}" },
         { "orders --customer gift", "[{'customer':'gift'}]" });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hooks),           cmocka_unit_test(test_expire_hook_fails),
        cmocka_unit_test(test_expire_in_parts), cmocka_unit_test(test_hook_depth),
        cmocka_unit_test(test_hook_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
