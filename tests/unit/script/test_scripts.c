/* Scripts of a node in a simulated world: sessions, slices, limits, hooks, files. No cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "policy/command.h"
#include "script/script.h"
#include "sim/env_sim.h"

struct world {
    struct sim *sim;
    struct env *env;
    struct registry *registry;
    struct scripts *scripts;
    struct session *session;
    struct buf out; /* of the statement that runs */
    int status;     /* -1: still at work */
    struct error error;
    struct buf log;
};

static void on_output(void *arg, const char *kind, struct span text, struct span columns)
{
    struct world *w = arg;
    (void)kind, (void)columns;
    buf_put(&w->out, text.data, text.len);
}

static void on_done(void *arg, int status, const struct error *e, struct span traceback)
{
    struct world *w = arg;
    (void)traceback;
    w->status = status;
    error_clear(&w->error);
    if (e != NULL) {
        w->error = *e;
    }
}

static const struct task_events events = { on_output, on_done };

static void on_log(void *arg, enum log_level level, const char *module, const char *text)
{
    struct world *w = arg;
    (void)level, (void)module;
    buf_put_str(&w->log, text);
    buf_put_str(&w->log, "\n");
}

static void write_file(struct env *env, const char *path, const char *text)
{
    struct env_file *f;
    struct error e;
    assert_int_equal(env->ops->file_open(env, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &f, &e),
                     0);
    assert_int_equal(env->ops->file_write(f, 0, text, strlen(text), &e), 0);
    env->ops->file_close(f);
}

/* The file's text, "" when it is not there. */
static const char *read_file(struct env *env, const char *path)
{
    static char text[65536];
    struct env_file *f;
    struct error e;
    size_t got = 0;
    text[0] = 0;
    if (env->ops->file_open(env, path, ENV_READ, &f, &e) == 0) {
        assert_int_equal(env->ops->file_read(f, 0, text, sizeof text - 1, &got, &e), 0);
        env->ops->file_close(f);
        text[got] = 0;
    }
    return text;
}

/* A node's scripts; `script` is the text of its only script file, NULL for none. */
static struct world *begin(const char *script)
{
    static const char *const files[] = { "node/hooks.lua", NULL };
    struct world *w = mem_zalloc(sizeof *w);
    struct error e;
    w->sim = sim_new(7);
    w->env = sim_env(w->sim, "a:1");
    w->registry = registry_new();
    log_set_sink(on_log, w);
    assert_int_equal(w->env->ops->make_dir(w->env, "node", &e), 0);
    if (script != NULL) {
        write_file(w->env, files[0], script);
    }
    const struct scripts_options o = { .env = w->env,
                                       .registry = w->registry,
                                       .files = script != NULL ? files : NULL,
                                       .config_json = span_of("{}"),
                                       .profile = "test",
                                       .version = "0.0.0",
                                       .dir = "node",
                                       .file_bytes_max = 1000,
                                       .memory_max = 4 << 20,
                                       .instructions_max = 20000000 };
    const struct policy_user user = { .name = span_of("ann"), .access = ACCESS_OPERATOR };
    assert_int_equal(scripts_new(&o, &w->scripts, &e), 0);
    w->session = scripts_session_new(w->scripts, &user, &e);
    assert_non_null(w->session);
    return w;
}

static void end(struct world *w)
{
    scripts_session_free(w->session);
    sim_run(w->sim, 10);
    scripts_free(w->scripts);
    registry_free(w->registry);
    log_set_sink(NULL, NULL);
    sim_free(w->sim);
    buf_free(&w->out);
    buf_free(&w->log);
    mem_free(w);
}

static bool is_done(void *arg) { return ((struct world *)arg)->status >= 0; }

static void run(struct world *w, const char *text)
{
    w->status = -1;
    buf_clear(&w->out);
    assert_non_null(
        scripts_run(w->session, span_of("test.lua"), span_of(text), NULL, 0, &events, w));
    assert_int_equal(w->status, -1); /* T3: never from inside */
    assert_true(sim_run_until(w->sim, 600000, is_done, w));
}

static bool printed(const struct buf *b, const char *text)
{
    char all[4096];
    (void)snprintf(all, sizeof all, "%.*s", (int)b->len, b->data != NULL ? (char *)b->data : "");
    if (strstr(all, text) == NULL) {
        print_message("not in: %s\n", all);
        return false;
    }
    return true;
}

/* What a script prints and returns arrives, and a session keeps nothing of a script. */
static void test_run(void **state)
{
    (void)state;
    struct world *w = begin(NULL);
    run(w, "x = 1 print('one', x) return { 2 }");
    assert_int_equal(w->status, 0);
    assert_true(printed(&w->out, "one\t1\n[2]"));
    run(w, "print(x) exit(7)");
    assert_int_equal(w->status, 7);
    assert_true(printed(&w->out, "nil\n"));
    run(w, "local function f() error('no') end f()");
    assert_int_equal(w->status, 1);
    assert_string_equal(w->error.message, "test.lua:1: no");
    end(w);
}

/* A script that never ends is stopped by its budget, one that eats memory by its cap; the next
 * one has all of both again. */
static void test_limits(void **state)
{
    (void)state;
    struct world *w = begin(NULL);
    run(w, "while true do pcall(function() while true do end end) end");
    assert_int_equal(w->error.code, ERR_LIMIT);
    run(w, "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(100) .. i end");
    assert_int_equal(w->error.code, ERR_LIMIT);
    run(w, "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(100) .. i end return #t");
    assert_int_equal(w->status, 0);
    end(w);
}

/* Sleeping for nothing lets time go on: it once kept the loop in one turn for ever. */
static void test_sleep_nothing(void **state)
{
    (void)state;
    struct world *w = begin(NULL);
    uint64_t before = sim_now(w->sim);
    run(w, "for i = 1, 50 do sleep(0) end");
    assert_int_equal(w->status, 0);
    assert_true(sim_now(w->sim) >= before + 50);
    end(w);
}

/* Two scripts in endless loops and a third: nobody waits for another's end. */
static void test_slices(void **state)
{
    (void)state;
    struct world *w = begin(NULL), other = { .status = -1 };
    struct task *loop = scripts_run(w->session, span_of("loop"), span_of("while true do end"), NULL,
                                    0, &events, &other);
    run(w, "local n = 0 for i = 1, 300000 do n = n + i end return n");
    assert_int_equal(w->status, 0);
    assert_int_equal(other.status, -1);
    scripts_kill(loop, "enough");
    assert_true(sim_run_until(w->sim, 1000, is_done, &other));
    assert_int_equal(other.status, 1);
    assert_string_equal(other.error.message, "enough");
    end(w);
}

/* A paused script goes on to its next output and waits there. */
static void test_pause(void **state)
{
    (void)state;
    struct world *w = begin(NULL);
    w->status = -1;
    struct task *t = scripts_run(w->session, span_of("flood"),
                                 span_of("for i = 1, 1000 do print(i) end"), NULL, 0, &events, w);
    scripts_pause(t, true);
    sim_run(w->sim, 1000);
    assert_int_equal(w->out.len, strlen("1\n"));
    scripts_pause(t, false);
    assert_true(sim_run_until(w->sim, 1000, is_done, w));
    assert_int_equal(w->status, 0);
    end(w);
}

static const char *const member_hooks =
    "local n = 0\n"
    "on('member', function(m) append('m.txt', m.address .. ' ' .. (m.missed or 0) .. '\\n') end)\n"
    "on('member', function(m) n = n + 1 if n == 2 then error('second') end sleep('100ms') end)\n"
    "on('member', function() while true do end end)\n";

/* Handlers get every event in order; one that raises or never ends harms nobody. */
static void test_hooks(void **state)
{
    (void)state;
    struct world *w = begin(member_hooks);
    scripts_event(w->scripts, "member", span_of("{\"address\":\"a\"}"));
    scripts_event(w->scripts, "member", span_of("{\"address\":\"b\"}"));
    scripts_event(w->scripts, "policy", span_of("{}"));
    sim_run(w->sim, 60000);
    assert_string_equal(read_file(w->env, "node/files/m.txt"), "a 0\nb 0\n");
    assert_true(printed(&w->log, "node/hooks.lua:3: second"));
    run(w, "return on('member')");
    assert_true(printed(&w->out, "\"at\":\"node/hooks.lua:3\",\"calls\":2,\"errors\":1"));
    assert_true(printed(&w->out, "\"at\":\"node/hooks.lua:4\",\"calls\":2,\"errors\":2"));
    end(w);
}

/* A queue that is full leaves newer events out, and the handler is told how many. */
static void test_missed(void **state)
{
    (void)state;
    struct world *w = begin("on('member', function(m) if m.missed then "
                            "append('m.txt', m.address .. ' ' .. m.missed) end end)");
    for (int i = 0; i < HOOK_QUEUE_MAX + 5; i++) {
        scripts_event(w->scripts, "member", span_of("{\"address\":\"x\"}"));
    }
    sim_run(w->sim, 5000);
    assert_string_equal(read_file(w->env, "node/files/m.txt"), "");
    scripts_event(w->scripts, "member", span_of("{\"address\":\"last\"}"));
    sim_run(w->sim, 5000);
    assert_string_equal(read_file(w->env, "node/files/m.txt"), "last 5");
    end(w);
}

/* stop: its handlers run before the callback, what they append is written; one that hangs is
 * waited for HOOK_STOP_MS. */
static void stopped(void *arg) { *(bool *)arg = true; }

static bool has_stopped(void *arg) { return *(bool *)arg; }

static void test_stop(void **state)
{
    (void)state;
    bool over = false;
    struct world *w = begin("on('stop', function() sleep('300ms') append('s.txt', 'bye') end)");
    scripts_stop(w->scripts, stopped, &over);
    assert_false(over);
    assert_true(sim_run_until(w->sim, HOOK_STOP_MS, has_stopped, &over));
    assert_string_equal(read_file(w->env, "node/files/s.txt"), "bye");
    end(w);
    w = begin("on('stop', function() sleep('1h') end)");
    over = false;
    scripts_stop(w->scripts, stopped, &over);
    sim_run(w->sim, HOOK_STOP_MS - 100);
    assert_false(over);
    assert_true(sim_run_until(w->sim, 1000, has_stopped, &over));
    end(w);
}

/* Timers run at their times, not over themselves. */
static void test_every(void **state)
{
    (void)state;
    struct world *w = begin("every('100ms', function() append('t.txt', '.') sleep('250ms') end)");
    sim_run(w->sim, 1050);
    size_t runs = strlen(read_file(w->env, "node/files/t.txt"));
    assert_true(runs >= 3 && runs <= 4);
    end(w);
}

/* append: names that would leave files/ are refused; a file is rotated whole. */
static void test_append(void **state)
{
    (void)state;
    struct world *w = begin(NULL);
    run(w, "for _, name in ipairs { '../x', 'a/b', '.x', '', ('x'):rep(101), 'a b' } do\n"
           "  local ok, why = pcall(append, name, 'x') assert(not ok) print(why) end");
    assert_int_equal(w->status, 0);
    assert_true(printed(&w->out, "plain file name"));
    run(w, "for i = 1, 3 do assert(append('f', ('x'):rep(600))) end");
    assert_int_equal(w->status, 0);
    assert_int_equal(strlen(read_file(w->env, "node/files/f")), 600);
    assert_int_equal(strlen(read_file(w->env, "node/files/f.1")), 600);
    assert_int_equal(strlen(read_file(w->env, "node/files/f.2")), 600);
    assert_int_equal(strlen(read_file(w->env, "node/files/f.3")), 0);
    end(w);
}

/* A script that cannot be loaded is reported with its line; it defines nothing. */
static void test_broken(void **state)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        { "local x = = 1", "node/hooks.lua:1:" },
        { "on('member', print)\nerror('late')", "node/hooks.lua:2: late" },
        { "while true do end", "computes for too long" },
        { "sleep(1)", "while a script is loaded" },
        { "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end", "node/hooks.lua" },
        { "return 'x'", "returns a string" },
        { "return command { name = 'x', kind = 'node', args = {} }", "`run` must be a function" },
        { "on('x', print)", "there is no hook 'x'" },
        { "every('1ms', print)", "10 ms to 7 days" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world *w = begin(cases[i].text);
        assert_true(printed(&w->log, cases[i].wanted));
        run(w, "return #on('member')");
        assert_true(printed(&w->out, "0"));
        end(w);
    }
}

/* The session that is one too many is told so, and what to do; another end makes room again. */
static void test_sessions(void **state)
{
    static struct session *open[SCRIPT_SESSIONS_MAX];
    const struct policy_user user = { .name = span_of("ann"), .access = ACCESS_OPERATOR };
    struct error e;
    (void)state;
    struct world *w = begin(NULL); /* with one */
    for (size_t i = 1; i < SCRIPT_SESSIONS_MAX; i++) {
        open[i] = scripts_session_new(w->scripts, &user, &e);
        assert_non_null(open[i]);
    }
    error_clear(&e);
    assert_null(scripts_session_new(w->scripts, &user, &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_non_null(strstr(e.message, "500 consoles"));
    assert_non_null(strstr(e.hint, "another node"));
    for (size_t i = 1; i < SCRIPT_SESSIONS_MAX; i++) {
        scripts_session_free(open[i]);
    }
    open[1] = scripts_session_new(w->scripts, &user, &e);
    assert_non_null(open[1]);
    scripts_session_free(open[1]);
    end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),    cmocka_unit_test(test_limits),
        cmocka_unit_test(test_slices), cmocka_unit_test(test_sleep_nothing),
        cmocka_unit_test(test_pause),  cmocka_unit_test(test_hooks),
        cmocka_unit_test(test_missed), cmocka_unit_test(test_stop),
        cmocka_unit_test(test_every),  cmocka_unit_test(test_append),
        cmocka_unit_test(test_broken), cmocka_unit_test(test_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
