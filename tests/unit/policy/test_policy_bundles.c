/* Bundles of a policy's files, the commands in them, and their deployment (tx:policy_put). */
#include "base/mem.h"
#include "house.h"

/* A bundle: modules, one instance each; what is wrong with it is said with file and line. */
static void test_bundles(void **state)
{
    (void)state;
    struct play p;
    struct buf b = BUF_INIT;
    struct error e = { 0 };
    play_open(&p);
    struct {
        const char *name[3], *text[3], *error;
    } cases[] = {
        { { "policy.lua", "limits.lua", "sub/deep.lua" },
          { "local a, b = require 'limits', require 'limits' assert(a == b) return policy { name = "
            "'m', rules = { a.rule, require 'sub.deep' } }",
            "return { rule = rule { name = 'l', check = function() return nil, 'limited' end } }",
            "return rule { name = 'd', check = function() return true end }" },
          NULL },
        { { "policy.lua" }, { "return policy { name = 'm', rulz = {} }" }, "unknown key 'rulz'" },
        { { "policy.lua" }, { "return policy {\n  rules = 5 }" }, "rules is a number" },
        { { "policy.lua" }, { "\n\nreturn }" }, "policy.lua:3:" },
        { { "policy.lua" }, { "return 5" }, "must return policy{...}" },
        { { "policy.lua" }, { "return policy { commands = { 5 } }" }, "command{...}" },
        { { "policy.lua" }, { "return require 'gone'" }, "there is no gone.lua" },
        { { "policy.lua", "a.lua" },
          { "return require 'a'", "return require 'a'" },
          "requires itself" },
        { { "policy.lua", "a.lua" },
          { "return require 'a'", "\nlocal x = nil; return x.y" },
          "a.lua:2:" },
        { { "policy.lua" }, { "\ntx:set('a', 1)" }, "policy.lua:2: there is no global 'tx'" },
        { { "policy.lua" },
          { "local limit = 1\nreturn polcy { rules = { limitt } }" },
          "policy.lua:2: there is no global 'polcy'; did you mean 'policy'?" },
        { { "policy.lua", "a.lua" },
          { "return policy { rules = { require 'a' } }", "\nreturn rule { chek = limitt }" },
          "a.lua:2: there is no global 'limitt'" },
        { { "policy.lua" },
          { "return policy { rules = { type,\n nil, type } }" },
          "policy.lua:1: policy: rules[2] is nil: is its name right?" },
        { { "policy.lua" },
          { "\nreturn policy { rules = { require('usher.rules').party } }" },
          "policy.lua:2: policy: rules[1] is the function rules.party: call it" },
        { { "policy.lua" },
          { "local rules = require 'usher.rules'\nreturn policy { rules = { rules.prty() } }" },
          "policy.lua:2: there is no rule 'prty'; did you mean 'party'?" },
        { { "policy.lua" },
          { "\nrequire 'usher.rule'" },
          "module 'usher.rule' not found; did you mean 'usher.rules'?" },
        { { "policy.lua" }, { "require 'usher.nothing_such'" }, "module 'usher.nothing_such'" },
        { { "policy.lua" }, { "\ndeny { msg = 'no' }" }, "policy.lua:2: deny: unknown key 'msg'" },
        { { "policy.lua" }, { "\nerror { n = 1 }" }, "policy.lua:2: an error without a text" },
        { { "policy.lua", "m.lua" },
          { "\nrequire 'm'", "\n\nerror()" },
          "policy.lua:2: an error without a text" },
        { { "policy.lua" }, { "\nerror { message = 'told' }" }, "policy.lua:2: told" },
#define COMMAND(more)                                                                              \
    { "return policy { commands = {\n command { name = 'hi', summary = 's', example = 'hi', "      \
      "run = type, " more " } } }" }
        { { "policy.lua" },
          COMMAND("kind = 'node'"),
          "policy.lua:2: command hi: this place takes commands of kind 'transaction' only" },
        { { "policy.lua" },
          COMMAND("argz = {}"),
          "policy.lua:2: command hi: unknown key 'argz', did you mean 'args'?" },
        { { "policy.lua" },
          COMMAND("args = { { 'n', 'int', hlp = 'x' } }"),
          "argument 'n': unknown key 'hlp', did you mean 'help'?" },
        { { "policy.lua" }, COMMAND("args = { { 'n', 'int', 'x' } }"), "only names are keys" },
        { { "policy.lua" },
          COMMAND("args = { { 'n', 'int', complete = 'x' } }"),
          "argument 'n': 'complete' must be a function" },
        { { "policy.lua" },
          COMMAND("complete = function() end"),
          "command hi: unknown key 'complete': an argument has it" },
        { { "policy.lua" }, COMMAND("args = { n = 'int' }"), "args: unknown key 'n'" },
        { { "policy.lua" },
          COMMAND("options = { n = { 'int', defualt = 1 } }"),
          "option 'n': unknown key 'defualt', did you mean 'default'?" },
#undef COMMAND
        { { "policy.lua" }, { "return policy { price = math.random() }" }, "no randomness" },
        { { "a.lua", "b.lua" }, { "return policy {}", "return policy {}" }, "no policy.lua" },
        { { NULL }, { NULL }, "the bundle is empty" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        policy_bundle_begin(&b);
        for (int k = 0; k < 3 && cases[i].name[k] != NULL; k++) {
            policy_bundle_add(&b, span_of(cases[i].name[k]), span_of(cases[i].text[k]));
        }
        uint32_t before = policy_version(p.policy);
        int rc = policy_load(p.policy, (uint32_t)i + 10,
                             span_make(b.data != NULL ? (char *)b.data : "", b.len), &e);
        if ((rc == 0) != (cases[i].error == NULL) ||
            (rc != 0 && strstr(e.message, cases[i].error) == NULL)) {
            fail_msg("case %zu: %s", i, rc == 0 ? "loaded" : e.message);
        }
        assert_int_equal(policy_version(p.policy), rc == 0 ? i + 10 : before);
    }
    buf_free(&b);
    static const char cut[] = "\x0apolicy.lua\x50return";
    assert_int_not_equal(policy_load(p.policy, 99, span_make(cut, sizeof cut - 1), &e), 0);
    play_close(&p);
}

/* A bundle's commands come and go with it; one may replace a compiled-in command. */
static void test_bundle_commands(void **state)
{
    (void)state;
    PLAY(HOUSE, { "t 1", "!NOTFOUND" }, { DO("", "return { here = 1 }"), "" },
         { "t 1", "{'here':1,'index':'*'}" },
         { "policy return policy { name = 'p', commands = { command { name = 'book', kind = "
           "'transaction', group = 'g', summary = 's', example = 'book', run = function() return { "
           "mine = true } end } } }",
           "" },
         { "t 1", "!NOTFOUND" }, { "book", "{'mine':true}" },
         { "policy return policy { commands = { command { name = 'x', kind = 'transaction' } } }",
           "!x" },
         { "book", "{'mine':true}" }, { "policy return policy { name = 'q' }", "" },
         { "book 1 ann A1", "{'status':'booked'}" });
}

/* tx:policy_put stores what compiles, versions go up by one, files come back. */
static void test_policy_put(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("", "local v = tx:policy_put { ['policy.lua'] = req.mode == 'bad' and 'return 5' or "
                  "'return policy { name = \"new\" }', ['a.lua'] = 'return 1' } local r = "
                  "tx:policy_record() return { v = v, sha = #r.sha256, by = r.author, t = r.time, "
                  "file = tx:policy_files(v)['a.lua'], none = tx:policy_record(9) == nil }"),
           "" },
         { "t 1", "{'v':1,'sha':64,'by':'test','t':1000,'file':'return 1','none':true}" },
         { "t 1", "{'v':2}" }, { "t 1 --mode bad", "!BADARG policy.lua must return" },
         { "t 1", "{'v':3}" });
}

/* An event keeps its rules: what lacks them is not deployed, and where it is active nevertheless,
 * from before that was asked, explain still answers. */
static void test_policy_put_keeps_rulesets(void **state)
{
    (void)state;
    static const char with[] = "policy return policy { rulesets = { mat = {} } }";
    PLAY({ with, "" }, { "add-event 1 [{'row':'A','seats':2}] --rules mat", "{'ruleset':'mat'}" },
         { "event 1", "{'ruleset':'mat'}" }, { "o = book 1 ann A1", "{}" },
         { "deploy-policy `return policy { rulesets = { eve = {} } }`",
           "!CONFLICT event 1 has the rules 'mat', which this policy lacks" },
         { "deploy-policy `return policy{}`", "!CONFLICT set-event 1 --rules" },
         { "deploy-policy `return policy { name = 'x', rulesets = { mat = {} } }`",
           "{'version':1}" },
         { "explain $o", "{'current_rules':[{'event':'1','ruleset':'mat','rules':[]}]}" },
         { "policy return policy{}", "" },
         { "explain $o", "{'current_rules':[{'event':'1','ruleset':'mat','missing':true}]}" },
         { with, "" }, { "set-event 1 --rules ``", "{'ruleset':null}" },
         { "explain $o", "{'current_rules':[{'event':'1','ruleset':null,'rules':[]}]}" },
         { "deploy-policy `return policy{}`", "{'version':2}" });
}

/* The line was granted, and others have been since: what does it answer when it comes again? */
static void again(struct play *p, const char *line, const char *want)
{
    snprintf(p->last_line, sizeof p->last_line, "%s", line);
    play(p, "again", want);
}

/* A repeated deploy or rollback tells its own version, not the newest, which may be another's. */
static void test_policy_again(void **state)
{
    (void)state;
    static const char one[] = "deploy-policy `return policy { name = 'one' }` --author ann";
    static const char two[] = "deploy-policy `return policy { name = 'two' }` --author bob";
    struct play p;
    play_open(&p);
    play(&p, one, "{'version':1}");
    play(&p, two, "{'version':2}");
    again(&p, one, "{'version':1,'author':'test'}");
    play(&p, "rollback-policy 1", "{'version':3,'restored':1}");
    play(&p, two, "{'version':4}");
    again(&p, "rollback-policy 1", "{'version':3,'restored':1}");
    again(&p, "rollback-policy --expect 2", "{'version':3,'restored':1}");
    again(&p, "rollback-policy", "{'already':true,'version':'(absent)'}");
    again(&p, "deploy-policy `return policy { name = 'two' }` --expect 1", "{'version':2}");
    again(&p, "deploy-policy `return policy { name = 'gone' }`",
          "{'already':true,'version':'(absent)'}");
    play_close(&p);
}

/* What versions did is not known: written by a program that kept no such record. */
static void forget_history(struct play *p)
{
    struct error e = { 0 };
    struct effect f = { .kind = EFFECT_RECORD_SET, .id = span_of("policy-history") };
    play_begin(p);
    store_tx_begin(p->store);
    assert_int_equal(store_do(p->store, &f, &e), 0);
    store_tx_end(p->store);
    play_end(p);
}

static void deploy_all(struct play *p, const char *names)
{
    for (; *names != 0; names++) {
        char line[80];
        (void)snprintf(line, sizeof line, "deploy-policy `return policy { name = 'p%c' }`", *names);
        play(p, line, "{'already':'(absent)'}");
    }
}

/* Rollbacks in a row undo step by step, whatever content came twice; a deploy between them is a
 * step of its own, and so is what stands before the version that somebody chose. */
static void test_rollback_steps(void **state)
{
    (void)state;
    struct play p;
    play_open(&p);
    deploy_all(&p, "dabac"); /* 1 to 5 */
    play(&p, "rollback-policy", "{'version':6,'restored':4,'before':5}");
    play(&p, "rollback-policy", "{'version':7,'restored':3}");
    play(&p, "rollback-policy", "{'version':8,'restored':2}");
    deploy_all(&p, "e");
    play(&p, "rollback-policy", "{'version':10,'restored':8}");
    play(&p, "rollback-policy", "{'version':11,'restored':1}");
    play(&p, "rollback-policy", "{'version':12,'restored':0}");
    play(&p, "rollback-policy", "!NOTFOUND there is nothing before version 12");
    play(&p, "rollback-policy 4", "{'version':13,'restored':4}");
    play(&p, "rollback-policy", "{'version':14,'restored':3}");
    play(&p, "policies 13", "{'restored':4,'name':'pa'}");
    play(&p, "policies 5", "{'restored':'(absent)','name':'pc'}");
    deploy_all(&p, "fghijklmnopqrst"); /* 15 to 29: the first that is kept is 14 */
    play(&p, "policies 14", "{'restored':3,'name':'pb'}");
    play(&p, "rollback-policy 14", "{'version':30,'restored':14}");
    play(&p, "rollback-policy", "!NOTFOUND version 13 is not kept");
    play_close(&p);
}

/* Versions without a record: what is there again counts as restored from the newest that had it. */
static void test_rollback_of_older_data(void **state)
{
    (void)state;
    struct play p;
    play_open(&p);
    deploy_all(&p, "dabac");
    play(&p, "rollback-policy 4", "{'version':6}");
    forget_history(&p);
    play(&p, "policies 6", "{'restored':'(absent)','name':'(absent)'}");
    play(&p, "rollback-policy", "{'version':7,'restored':1}"); /* 4 may have restored 2 */
    play_close(&p);
    play_open(&p);
    deploy_all(&p, "dabc");
    play(&p, "rollback-policy 3", "{'version':5}");
    forget_history(&p);
    play(&p, "rollback-policy", "{'version':6,'restored':2}");
    play(&p, "rollback-policy", "{'version':7,'restored':1}");
    play_close(&p);
}

/* A command needs no group: its bundle can be deployed again over itself, and is listed. */
static void test_policy_put_again(void **state)
{
    (void)state;
    static const char bundle[] =
        "policy return policy { commands = { command { name = 'two', run = function(tx) return { v "
        "= tx:policy_put { ['policy.lua'] = \"return policy { commands = { command { name = 'two', "
        "run = function() return {} end } } }\" } } end } } }";
    PLAY({ bundle, "" }, { "two", "{'v':1}" }, { bundle, "" }, { "two", "{'v':2}" });
}

/* What says that a command is the node's is not for bundles to say. */
static void test_policy_put_group(void **state)
{
    (void)state;
    static const char bundle[] =
        "policy return policy { commands = { command { name = 'one', run = function(tx) return { v "
        "= tx:policy_put { ['policy.lua'] = \"return policy { commands = { command { name = 'two', "
        "group = 'policy', run = function() return {} end } } }\" } } end } } }";
    PLAY({ bundle, "" }, { "one", "!BADARG the group `policy` belongs to the node" });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bundles),
        cmocka_unit_test(test_bundle_commands),
        cmocka_unit_test(test_policy_put),
        cmocka_unit_test(test_policy_put_again),
        cmocka_unit_test(test_policy_put_group),
        cmocka_unit_test(test_policy_again),
        cmocka_unit_test(test_rollback_steps),
        cmocka_unit_test(test_rollback_of_older_data),
        cmocka_unit_test(test_policy_put_keeps_rulesets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
