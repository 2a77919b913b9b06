/* engine.md's table of escapes (docs/engine.md, "Lua 5.4.4"), one test or more for each row: what
 * a script may try, and that the node answers with one error and works on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <lauxlib.h>

#include "base/mem.h"
#include "policy/policy.h"
#include "policy/sandbox.h"

struct vm {
    struct policy *policy;
    struct registry *registry;
    struct store *store;
    struct policy_answer answer;
};

static void open_with(struct vm *vm, const struct policy_options *o)
{
    struct error e = { 0 };
    memset(vm, 0, sizeof(*vm));
    vm->store = store_new();
    vm->registry = registry_new();
    if (policy_new(o, vm->registry, &vm->policy, &e) != 0) {
        fail_msg("policy_new: %s", e.message);
    }
}

static void open_seeded(struct vm *vm, uint64_t seed)
{
    struct policy_options o = { .seed = { seed, 2 },
                                .instructions_max = 1000000,
                                .memory_max = 12 << 20 };
    open_with(vm, &o);
}

static void open_vm(struct vm *vm) { open_seeded(vm, 1); }

static void close_vm(struct vm *vm)
{
    policy_answer_free(&vm->answer);
    policy_free(vm->policy);
    registry_free(vm->registry);
    store_free(vm->store);
}

static int load_text(struct vm *vm, struct span text, struct error *e)
{
    struct buf bundle = BUF_INIT;
    policy_bundle_begin(&bundle);
    policy_bundle_add(&bundle, span_of("policy.lua"), text);
    int rc = policy_load(vm->policy, 1, span_make((const char *)bundle.data, bundle.len), e);
    buf_free(&bundle);
    return rc;
}

/* Loads a policy whose command `t` has this body, and evaluates it. */
static void run(struct vm *vm, const char *body)
{
    static char text[20000];
    struct error e = { 0 };
    struct call call = { 0 };
    struct span argv[1] = { span_of("t") };
    snprintf(text, sizeof(text),
             "return policy { name = 'test', commands = { command { name = 't', kind = "
             "'transaction', group = 'g', summary = 's', example = 't', run = function(tx, req)\n"
             "%s\nend } } }",
             body);
    if (load_text(vm, span_of(text), &e) != 0) {
        fail_msg("load: %s\n%s", e.message, body);
    }
    assert_int_equal(call_parse(vm->registry, 1, argv, &call, &e), 0);
    store_group_begin(vm->store, 1000, 1);
    store_tx_begin(vm->store);
    policy_evaluate(vm->policy, vm->store, &call, NULL, 1000, 1, &vm->answer);
    store_tx_end(vm->store);
    store_group_cancel(vm->store);
    call_free(&call);
}

/* The script must be refused with this code and text; afterwards the VM works. */
static void refused(struct vm *vm, const char *body, const char *code, const char *text)
{
    run(vm, body);
    if (vm->answer.code == 0) {
        fail_msg("granted: %s\n%.*s", body, (int)vm->answer.json.len, (char *)vm->answer.json.data);
    }
    if (strcmp(error_wire(vm->answer.code), code) != 0 ||
        strstr(vm->answer.error.message, text) == NULL) {
        fail_msg("%s\n got %s %s\nwant %s %s", body, error_wire(vm->answer.code),
                 vm->answer.error.message, code, text);
    }
    run(vm, "return { fine = true }");
    assert_int_equal(vm->answer.code, 0);
}

/* The script must be granted with exactly this answer. */
static void granted(struct vm *vm, const char *body, const char *json)
{
    run(vm, body);
    char got[2000];
    snprintf(got, sizeof(got), "%.*s", (int)vm->answer.json.len, (char *)vm->answer.json.data);
    if (vm->answer.code != 0) {
        fail_msg("%s\n got %s %s", body, error_wire(vm->answer.code), vm->answer.error.message);
    }
    assert_string_equal(got, json);
}

#define OVER "ran over its budget"

/* The script must end for its budget without much more computing than the 250 ms of a request. */
static void refused_soon(struct vm *vm, const char *body)
{
    clock_t start = clock();
    refused(vm, body, "INTERNAL", OVER);
    long ms = (long)((clock() - start) * 1000 / CLOCKS_PER_SEC);
    if (ms > 750) {
        fail_msg("%ld ms: %s", ms, body);
    }
}

static int put_bytes(lua_State *L, const void *data, size_t len, void *arg)
{
    (void)L;
    buf_put(arg, data, len);
    return 0;
}

/* A bundle as Lua's own compiler would write it: well formed, and still not taken. */
static void test_whole_bytecode(void **state)
{
    (void)state;
    struct vm vm;
    struct error e = { 0 };
    struct buf binary = BUF_INIT;
    static const char text[] = "return policy { name = 'p' }";
    lua_State *L = luaL_newstate();
    assert_int_equal(luaL_loadstring(L, text), 0);
    assert_int_equal(lua_dump(L, put_bytes, &binary, 0), 0);
    lua_close(L);
    open_vm(&vm);
    assert_int_equal(load_text(&vm, span_of(text), &e), 0);
    struct span bytes = span_make((const char *)binary.data, binary.len);
    assert_int_equal(load_text(&vm, bytes, &e), ERR_BADARG);
    assert_non_null(strstr(e.message, "binary"));
    buf_free(&binary);
    close_vm(&vm);
}

/* Bytecode is never loaded: neither a bundle nor anything a script could call takes it. */
static void test_bytecode(void **state)
{
    (void)state;
    struct vm vm;
    struct error e = { 0 };
    open_vm(&vm);
    static const char binary[] = "\x1bLua\x54\x00\x19\x93\r\n\x1a\n\x04\x08\x08xV";
    assert_int_equal(load_text(&vm, span_make(binary, sizeof(binary) - 1), &e), ERR_BADARG);
    assert_non_null(strstr(e.message, "binary"));
    refused(&vm, "load('return 1')", "INTERNAL", "there is no global 'load'");
    refused(&vm, "loadstring('return 1')", "INTERNAL", "there is no global 'loadstring'");
    granted(&vm, "return { gone = string.dump == nil }", "{\"gone\":true,\"index\":0}");
    close_vm(&vm);
}

/* Loops end, whatever catches the error: the coroutine is never resumed. */
static void test_loops(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    refused(&vm, "while true do end", "INTERNAL", OVER);
    refused(&vm, "while true do pcall(error) end", "INTERNAL", OVER);
    refused(&vm, "while true do pcall(function() while true do end end) end", "INTERNAL", OVER);
    refused(&vm, "local function f() pcall(f) f() end f()", "INTERNAL", "");
    refused(&vm, "repeat local ok = pcall(string.rep, 'x', -1) until false", "INTERNAL", OVER);
    refused(&vm, "for _ in function() return 1 end do end", "INTERNAL", OVER);
    refused(&vm, "::again:: goto again", "INTERNAL", OVER);
    close_vm(&vm);
}

/* The error says where the script was. */
static void test_loop_place(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    refused(&vm, "local n = 0\nwhile true do n = n + 1 end", "INTERNAL", "policy.lua:3");
    close_vm(&vm);
}

/* Callbacks from C and metamethods, where the hook cannot yield, are stopped by raising. */
static void test_callbacks(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    static const char *const bodies[] = {
        "local t = setmetatable({}, { __index = function() while true do end end }) return t.x",
        "local t = setmetatable({}, { __lt = function() while true do end end }) return t < t",
        "table.sort({ 3, 2, 1 }, function() while true do end end)",
        "table.sort({ 3, 2, 1 }, function() while true do pcall(error) end end)",
        "while true do pcall(table.sort, { 3, 2, 1 }, function() while true do end end) end",
        "return (('x'):gsub('.', function() while true do pcall(error) end end))",
        "local x <close> = setmetatable({}, { __close = function() while true do end end })",
        "local x <close> = setmetatable({}, { __close = function() while true do end end }) error "
        "'x'",
        "while true do pcall(function() local x <close> = setmetatable({}, { __close = function() "
        "while true do end end }) error 'x' end) end",
        "return tostring(setmetatable({}, { __tostring = function() while true do end end }))",
        "for k in pairs(setmetatable({}, { __pairs = function() while true do end end })) do end",
        "return ('%s'):format(setmetatable({}, { __tostring = function() while true do "
        "pcall(error) "
        "end end }))",
        "error(setmetatable({}, { __tostring = function() while true do end end }))",
        "return json.encode(setmetatable({}, { __index = function() while true do end end }))",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]) - 2; i++) {
        refused(&vm, bodies[i], "INTERNAL", OVER);
    }
    /* An error object's __tostring and a table's __index are never asked by C code. */
    run(&vm, bodies[sizeof(bodies) / sizeof(bodies[0]) - 2]);
    assert_int_not_equal(vm.answer.code, 0);
    run(&vm, bodies[sizeof(bodies) / sizeof(bodies[0]) - 1]);
    assert_int_equal(vm.answer.code, 0);
    close_vm(&vm);
}

/* Loading is bounded as well: a bundle that loops at its top level is refused. */
static void test_load_loops(void **state)
{
    (void)state;
    struct vm vm;
    struct error e = { 0 };
    open_vm(&vm);
    assert_int_not_equal(load_text(&vm, span_of("while true do end"), &e), 0);
    assert_non_null(strstr(e.message, OVER));
    assert_int_not_equal(load_text(&vm, span_of("while true do pcall(error) end"), &e), 0);
    granted(&vm, "return { ok = 1 }", "{\"ok\":1,\"index\":0}");
    close_vm(&vm);
}

/* What could not be stopped does not exist: no xpcall, no coroutine, no finalisers. */
static void test_unstoppable(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    refused(&vm, "xpcall(error)", "INTERNAL", "there is no global 'xpcall'");
    refused(&vm, "coroutine.wrap(error)", "INTERNAL", "there is no global 'coroutine'");
    refused(&vm, "setmetatable({}, { __gc = function() while true do end end })", "INTERNAL",
            "'__gc' is not available");
    /* A __gc added after setmetatable marks nothing. */
    granted(&vm,
            "local hit = false local m = {} for i = 1, 2000 do setmetatable({}, m) end "
            "m.__gc = function() hit = true end local s = '' for i = 1, 2000 do s = s .. i end "
            "return { hit = hit }",
            "{\"hit\":false,\"index\":0}");
    close_vm(&vm);
}

/* Work done in C is charged: patterns, copies, padding, huge counts. */
static void test_c_functions(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    refused(&vm, "return ('a'):rep(40):find(('a*'):rep(40) .. 'b')", "INTERNAL", OVER);
    refused(&vm, "return ('a'):rep(40):match(('a?'):rep(40) .. ('a'):rep(40) .. 'b')", "INTERNAL",
            OVER);
    refused(&vm, "return ('a'):rep(40):gsub(('a-'):rep(40) .. 'b', '')", "INTERNAL", OVER);
    refused(&vm, "for _ in ('a'):rep(40):gmatch(('a*'):rep(40) .. 'b') do end", "INTERNAL", OVER);
    refused(&vm, "while true do pcall(string.find, ('a'):rep(40), ('a*'):rep(40) .. 'b') end",
            "INTERNAL", OVER);
    refused(&vm, "return ('x'):find(('('):rep(40))", "INTERNAL", "captures");
    refused(&vm, "return ('x'):rep(300):find(('x?'):rep(250))", "INTERNAL", "too complex");
    refused(&vm, "return table.move({}, 1, math.maxinteger, 2)", "INTERNAL", "too many");
    /* Sets as long as the text: every character of them costs. */
    refused(&vm, "return ('b'):rep(1000000):find('[' .. ('a'):rep(1000000) .. ']')", "INTERNAL",
            OVER);
    refused(&vm, "return ('b'):rep(1000000):find('%f[' .. ('a'):rep(1000000) .. ']')", "INTERNAL",
            OVER);
    refused(&vm, "return ('b'):rep(1000000):find('[^' .. ('b'):rep(1000000) .. 'b]-c')", "INTERNAL",
            OVER);
    /* A small table within itself a trillion times. */
    refused(&vm, "local t = {} for i = 1, 40 do t = { t, t } end return json.encode(t)", "INTERNAL",
            OVER);
    refused(&vm, "local t = {} for i = 1, 40 do t = { a = t, b = t } end tx:set('k', t)",
            "INTERNAL", OVER);
    refused(&vm, "local t = {} for i = 1, 40 do t = { t, t } end return { t = t }", "INTERNAL",
            OVER);
    refused(&vm, "return table.move({}, 1, 2000000000, 1)", "INTERNAL", OVER);
    refused(&vm, "return ('x'):rep(math.maxinteger)", "INTERNAL", "too large");
    refused(&vm, "return ('x'):rep(1 << 40, 'y')", "INTERNAL", "too large");
    refused(&vm, "return (''):rep(math.maxinteger, 'y')", "INTERNAL", "too large");
    granted(&vm, "return { n = #(''):rep(math.maxinteger) }", "{\"n\":0,\"index\":0}");
    refused(&vm, "return ('%999999d'):format(1)", "INTERNAL", "invalid conversion");
    refused(&vm, "return ('%.999f'):format(1)", "INTERNAL", "invalid conversion");
    refused(&vm, "return ('%p'):format({})", "INTERNAL", "invalid conversion");
    refused(&vm, "return table.unpack({}, 1, 1e8)", "INTERNAL", "too many");
    refused(&vm, "return table.unpack({}, math.mininteger, math.maxinteger)", "INTERNAL",
            "too many");
    refused(&vm, "return table.concat({}, 'x', 1, math.maxinteger)", "INTERNAL", "invalid value");
    refused(&vm,
            "return table.concat(setmetatable({}, { __index = function() return '' end }), '', 1, "
            "math.maxinteger)",
            "INTERNAL", "invalid value");
    refused(&vm,
            "local t = setmetatable({}, { __len = function() return math.maxinteger end }) "
            "for i = 1, 10 do table.insert(t, 1, i) end while true do table.sort(t) end",
            "INTERNAL", OVER);
    refused(&vm, "local t = {} for i = 1, 20000 do t[i] = -i end while true do table.sort(t) end",
            "INTERNAL", OVER);
    refused(&vm, "local s = ('x'):rep(1 << 20) while true do local y = s .. 'y' end", "INTERNAL",
            OVER);
    refused(&vm, "local s = ('x'):rep(1 << 20) while true do s:upper() end", "INTERNAL", OVER);
    close_vm(&vm);
}

/* One instruction that walks through a long string is followed by a look at the clock before the
 * thousandth: each of these takes seconds otherwise, in fewer instructions. */
static void test_long_strings(void **state)
{
    (void)state;
    static const char *const steps[] = {
        "utf8.len(s)",        "tonumber(s)",
        "utf8.offset(s, #s)", "tx:raw(s)",
        "json.decode(s)",     "s:lower()",
        "s:upper()",          "s:reverse()",
        "local x = s + 1",    "local x = -s",
        "math.floor(s)",      "pcall(tonumber, s)",
        "local x = s .. 'x'", "table.concat { s, 'x' }",
    };
    struct vm vm;
    open_with(&vm, &(struct policy_options){ .seed = { 1, 2 } });
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        char body[200];
        snprintf(body, sizeof body, "local s = (' '):rep(8 << 20) .. '1' while true do %s end",
                 steps[i]);
        refused_soon(&vm, body);
    }
    refused_soon(&vm, "local a, t = ('x'):rep(1 << 20), {} for i = 1, 20000 do t[i] = a end "
                      "table.sort(t)");
    refused_soon(&vm,
                 "local s = '[' .. ('[],'):rep(30000) .. '1]' while true do json.decode(s) end");
    close_vm(&vm);
}

/* Effects count too: what they cost in the store is not seen by the interpreter. */
static void test_effects(void **state)
{
    struct vm vm;
    (void)state;
    open_vm(&vm);
    refused(&vm, "for i = 1, 20000 do tx:set('k', i) end return {}", "INTERNAL", OVER);
    granted(&vm, "for i = 1, 2000 do tx:set('k', i) end return {}", "{\"index\":1}");
    close_vm(&vm);
}

/* Strings share one metatable, and nobody gets hold of it. */
static void test_string_metatable(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    refused(&vm, "getmetatable('').__index = function() return 1 end", "INTERNAL", "attempt to");
    refused(&vm, "setmetatable('', {})", "INTERNAL", "table expected");
    refused(&vm, "string.upper = nil", "INTERNAL", "read-only");
    refused(&vm, "rawset(string, 'upper', type)", "INTERNAL", "");
    granted(&vm, "return { a = getmetatable(''), b = ('x'):upper() }",
            "{\"a\":false,\"b\":\"X\",\"index\":0}");
    close_vm(&vm);
}

/* The names of the allow-list are there; nothing that reaches the world is. */
static void test_globals(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    static const char *const absent[] = {
        "io",
        "os",
        "debug",
        "package",
        "load",
        "loadstring",
        "dofile",
        "loadfile",
        "collectgarbage",
        "coroutine",
        "xpcall",
        "print",
        "_G",
        "warn",
        "module",
        "arg",
        "math.randomseed",
        "string.pack",
        "string.unpack",
        "string.dump",
        "table.foo",
    };
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
        char body[100];
        if (strchr(absent[i], '.') == NULL) {
            snprintf(body, sizeof(body), "return { gone = %s == nil }", absent[i]);
            refused(&vm, body, "INTERNAL", "there is no global");
            snprintf(body, sizeof(body), "return { gone = not pcall(function() return %s end) }",
                     absent[i]);
        } else {
            snprintf(body, sizeof(body), "return { gone = %s == nil }", absent[i]);
        }
        granted(&vm, body, "{\"gone\":true,\"index\":0}");
    }
    refused(&vm, "leaked = 1", "INTERNAL", "cannot set 'leaked'");
    refused(&vm, "_ENV.leaked = 1", "INTERNAL", "cannot set 'leaked'");
    refused(&vm, "rawset(_ENV, 'leaked', 1)", "INTERNAL", "read-only");
    refused(&vm, "table.insert(table, 1)", "INTERNAL", "read-only");
    refused(&vm, "setmetatable(_ENV, {})", "INTERNAL", "protected");
    refused(&vm, "setmetatable(math, { __index = type })", "INTERNAL", "protected");
    refused(&vm, "tx.take = 1", "INTERNAL", "read-only");
    refused(&vm, "getmetatable(tx).__index = 1", "INTERNAL", "attempt to");
    refused(&vm, "require 'io'", "INTERNAL", "not found");
    refused(&vm, "require 'usher.../../etc/passwd'", "INTERNAL", "not found");
    close_vm(&vm);
}

/* What one transaction did to its own _ENV is not seen by the next chunk. */
static void test_isolation(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    run(&vm, "local _ENV = setmetatable({}, { __index = _ENV }) pairs = 1 return {}");
    assert_int_equal(vm.answer.code, 0);
    granted(&vm, "return { t = type(pairs) }", "{\"t\":\"function\",\"index\":0}");
    close_vm(&vm);
}

/* Memory has a cap: the script ends, the node goes on, and the memory comes back. */
static void test_memory(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    refused(&vm, "local s = 'x' while true do s = s .. s end", "INTERNAL", "memory");
    refused(&vm, "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1024):rep(1024) end", "INTERNAL",
            "memory");
    run(&vm, "local t = {} for i = 1, 1e9 do t[i] = {} end");
    assert_int_not_equal(vm.answer.code, 0);
    refused(&vm,
            "local keep = {} while true do pcall(function() local s = 'x' while true do s = s "
            ".. s end end) end",
            "INTERNAL", "");
    refused(&vm, "return ('x'):rep(1024):rep(30 << 10)", "INTERNAL", "memory");
    granted(&vm, "return { n = #('x'):rep(4 << 20) }", "{\"n\":4194304,\"index\":0}");
    close_vm(&vm);
}

/* Lua may shrink a block at any time and must get it: also where there is no memory at all to move
 * it to. What was in it stays, and everything can be freed. */
static void test_shrink(void **state)
{
    (void)state;
    enum { BLOCKS = 128 };
    static const size_t sizes[] = { 1, 16, 17, 100, 300, 495, 497, 512 };
    struct sandbox sb = { .memory_max = 64 << 20 };
    int64_t before = mem_test_live();
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        char *small[BLOCKS], *large;
        sb.pool = sandbox_pool_new();
        for (size_t i = 0; i < BLOCKS; i++) { /* what a chunk holds: the last one takes the rest */
            size_t bytes = i + 1 < BLOCKS ? 512 : 496;
            small[i] = sandbox_alloc(&sb, NULL, 0, bytes);
            memset(small[i], (int)i, bytes);
        }
        large = sandbox_alloc(&sb, NULL, 0, 600);
        memset(large, 'x', 600);
        mem_test_fail_at(1);
        large = sandbox_alloc(&sb, large, 600, sizes[k]);
        for (size_t i = 0; i + 1 < BLOCKS; i++) {
            mem_test_fail_at(1);
            small[i] = sandbox_alloc(&sb, small[i], 512, sizes[k]);
        }
        mem_test_fail_at(0);
        assert_int_equal(large[0], 'x');
        assert_int_equal(large[sizes[k] - 1], 'x');
        sandbox_alloc(&sb, large, sizes[k], 0);
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t bytes = i + 1 < BLOCKS ? sizes[k] : 496;
            assert_int_equal(small[i][0], (char)i);
            assert_int_equal(small[i][bytes - 1], (char)i);
            sandbox_alloc(&sb, small[i], bytes, 0);
        }
        assert_int_equal(sb.memory_bytes, 0);
        sandbox_pool_free(sb.pool);
        assert_int_equal(mem_test_live(), before);
    }
}

/* Whatever is raised becomes a code and one line. */
static void test_errors(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    refused(&vm, "error()", "INTERNAL", "nil");
    refused(&vm, "error(42)", "INTERNAL", "42");
    refused(&vm, "error(true)", "INTERNAL", "true");
    refused(&vm, "error({})", "DENIED", "");
    refused(&vm, "error(nil)", "INTERNAL", "nil");
    refused(&vm, "error(function() end)", "INTERNAL", "function");
    refused(&vm, "error { code = 'NOTFOUND', message = 'no\\nsuch\\0thing' }", "NOTFOUND",
            "no?such");
    refused(&vm, "error { code = 'NONSENSE', message = {} }", "DENIED", "");
    refused(&vm, "error { message = ('x'):rep(100000), hint = ('y'):rep(100000) }", "DENIED",
            "xxx");
    refused(&vm, "error { alternative = function() end, message = 'm' }", "INTERNAL", "");
    refused(&vm, "error(setmetatable({}, { __index = function() error 'x' end }))", "DENIED", "");
    refused(&vm, "error(setmetatable({}, { __tostring = function() return 1 end }))", "DENIED", "");
    refused(&vm, "local x = nil; return x.y", "INTERNAL", "policy.lua:2:");
    refused(&vm, "return function() end", "INTERNAL", "");
    refused(&vm, "return { f = function() end }", "INTERNAL", "");
    refused(&vm, "local t = {} t.t = t return t", "INTERNAL", "");
    refused(&vm, "return nil, { code = 'LIMIT', message = 'enough' }", "LIMIT", "enough");
    refused(&vm, "deny { code = 'TAKEN', message = 'seat SEAT', seat = 'A1' }", "TAKEN", "seat A1");
    close_vm(&vm);
}

/* Recursion of every kind ends before the C stack does. */
static void test_recursion(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    refused(&vm, "local function f() return 1 + f() end return f()", "INTERNAL", "");
    close_vm(&vm);
    /* With all memory and instructions it would be a quarter of a second, deep down. */
    struct policy_options o = { .seed = { 1, 2 } };
    open_with(&vm, &o);
    refused(&vm, "local function f() return 1 + f() end return f()", "INTERNAL",
            "stack overflow: more than 10000 calls in each other");
    run(&vm, "local function f(n) return n == 0 and {} or (f(n - 1)) end return f(8000)");
    run(&vm, "local function f() pcall(f) end f() return {}"); /* ends by itself, far down */
    assert_int_equal(vm.answer.code, 0);
    refused(&vm, "local function f(s) return (s:gsub('.', f)) end return f('x')", "INTERNAL",
            "overflow");
    refused(&vm, "local t = {} local function f() table.sort({ 1, 2 }, function() f() end) end f()",
            "INTERNAL", "overflow");
    refused(&vm,
            "local m = {} m.__index = function(t, k) return t[k] end return "
            "setmetatable({}, m).x",
            "INTERNAL", "overflow");
    refused(&vm,
            "local m = {} m.__tostring = function(t) return tostring(t) end return "
            "tostring(setmetatable({}, m))",
            "INTERNAL", "overflow");
    refused(&vm, "local t = {} for i = 1, 100000 do t = { t } end return t", "INTERNAL", "");
    refused(&vm, "local _, m = json.decode(('['):rep(100000)) error(m)", "INTERNAL", "deep");
    close_vm(&vm);
}

/* A source text that would exhaust the compiler is refused with a message. */
static void test_deep_source(void **state)
{
    (void)state;
    struct vm vm;
    struct error e = { 0 };
    struct buf text = BUF_INIT;
    open_vm(&vm);
    buf_put_str(&text, "return ");
    for (int i = 0; i < 100000; i++) {
        buf_put_u8(&text, '(');
    }
    assert_int_equal(load_text(&vm, span_make((char *)text.data, text.len), &e), ERR_BADARG);
    if (strstr(e.message, "policy.lua:") == NULL) {
        fail_msg("%s", e.message);
    }
    buf_free(&text);
    close_vm(&vm);
}

/* pairs and next go through numbers, then strings bytewise, whatever was put in first. */
static void test_order(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    granted(
        &vm,
        "local t = { zeta = 1, alpha = 2, [3] = 3, [1] = 1, [2.5] = 4, [true] = 5, Beta = 6 } "
        "local o = json.list {} for k in pairs(t) do o[#o + 1] = tostring(k) end "
        "local k repeat k = next(t, k) if k ~= nil then o[#o + 1] = tostring(k) end until k == nil "
        "return { o = o }",
        "{\"o\":[\"1\",\"2.5\",\"3\",\"Beta\",\"alpha\",\"zeta\",\"true\",\"1\",\"2.5\",\"3\","
        "\"Beta\",\"alpha\",\"zeta\",\"true\"],\"index\":0}");
    granted(&vm,
            "local t, o = {}, json.list {} for i = 1, 300 do t['k' .. (i * 7919 % 1000)] = i end "
            "local last, sorted, n = '', true, 0 for k in pairs(t) do sorted = sorted and last < k "
            "last = k n = n + 1 end return { sorted = sorted, n = n }",
            "{\"n\":300,\"sorted\":true,\"index\":0}");
    close_vm(&vm);
}

/* Removing and changing during a loop is allowed; lists with holes are walked in order. */
static void test_pairs_changes(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    granted(&vm,
            "local t, o = { a = 1, b = 2, c = 3, d = 4 }, json.list {} for k, v in pairs(t) do "
            "o[#o + 1] = k t[k] = nil t.c = nil end return { o = o, empty = next(t) == nil }",
            "{\"empty\":true,\"o\":[\"a\",\"b\",\"d\"],\"index\":0}");
    granted(
        &vm,
        "local t, o = { 1, 2, 3, 4, 5 }, json.list {} t[2] = nil for k, v in pairs(t) do o[#o + 1]"
        " = k end return { o = o }",
        "{\"o\":[1,3,4,5],\"index\":0}");
    refused(&vm, "local f = pairs { 1, 2 } return f('x', 0)", "INTERNAL", "table expected");
    refused(&vm, "local f = pairs { a = 1 } return f(nil)", "INTERNAL", "table expected");
    close_vm(&vm);
}

/* table.sort keeps equal elements in place and survives functions that lie. */
static void test_sort(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    granted(&vm,
            "local t = {} for i = 1, 50 do t[i] = { key = i % 3, at = i } end "
            "table.sort(t, function(a, b) return a.key < b.key end) local ok = true "
            "for i = 2, 50 do ok = ok and (t[i - 1].key < t[i].key or (t[i - 1].key == t[i].key "
            "and t[i - 1].at < t[i].at)) end return { ok = ok }",
            "{\"ok\":true,\"index\":0}");
    granted(&vm,
            "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() return true end) "
            "table.sort(t, function() return false end) table.sort(t) return { n = #t, a = t[1], b "
            "= t[100] }",
            "{\"a\":1,\"b\":100,\"n\":100,\"index\":0}");
    refused(&vm, "table.sort({ 1, 'a' })", "INTERNAL", "compare");
    close_vm(&vm);
}

/* No text shows an address, so a replay from the same seed shows the same texts. */
static void test_addresses(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    granted(&vm,
            "return { a = tostring({}), b = tostring(nil), c = tostring(pairs), "
            "d = ('%s'):format({}), e = tostring(setmetatable({}, { __name = 'box' })), "
            "f = tostring(tx) }",
            "{\"a\":\"table\",\"b\":\"nil\",\"c\":\"function\",\"d\":\"table\",\"e\":\"box\",\"f\":"
            "\"tx\",\"index\":0}");
    close_vm(&vm);
}

/* Randomness depends on the seed only. */
static void test_random(void **state)
{
    (void)state;
    static const char body[] = "local o = {} for i = 1, 5 do o[i] = math.random(1, 1000000) end "
                               "o[6] = tx:random(6) return { o = table.concat(o, ' ') }";
    char first[3][200];
    for (int i = 0; i < 3; i++) {
        struct vm vm;
        open_seeded(&vm, i < 2 ? 7 : 8);
        run(&vm, body);
        assert_int_equal(vm.answer.code, 0);
        snprintf(first[i], sizeof(first[i]), "%.*s", (int)vm.answer.json.len,
                 (char *)vm.answer.json.data);
        refused(&vm, "return tx:random(5, 1)", "INTERNAL", "interval is empty");
        granted(
            &vm,
            "local low, high = 10, 0 for i = 1, 1000 do local r = math.random(3, 5) low = "
            "math.min(low, r) high = math.max(high, r) local f = math.random() assert(f >= 0 and "
            "f < 1) end return { low = low, high = high }",
            "{\"high\":5,\"low\":3,\"index\":0}");
        close_vm(&vm);
    }
    assert_string_equal(first[0], first[1]);
    assert_string_not_equal(first[0], first[2]);
}

/* The bounded string functions agree with Lua's own on ordinary use. */
static void test_string_functions(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    granted(
        &vm,
        "local o = {} local function add(...) for i = 1, select('#', ...) do o[#o + 1] = "
        "tostring((select(i, ...))) end end "
        "add(('hello world'):find('o w')) add(('hello'):find('l+')) add(('a.b'):find('.', 1, "
        "true)) "
        "add(('key = value'):match('^(%w+)%s*=%s*(%w+)$')) add(('x'):match('()')) "
        "add(('abc'):gsub('%w', '%0%0')) add(('abc'):gsub('', '-')) add(('hello world'):gsub('o', "
        "{ o = '0' }, 1)) add(('f(a(b)c)d'):match('%b()')) add(('THE (quick) "
        "fox'):find('%f[%a]%a+%f[%A]')) "
        "add(('aXb'):match('%u')) add(('[]'):match('[]]')) add(('a-b'):match('[a%-]+')) "
        "add(('abcabc'):match('(abc)%1')) add((' x '):match('^%s*(.-)%s*$')) "
        "for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do add(k, v) end "
        "for w in ('abc'):gmatch('') do add('.') end "
        "add(('x'):rep(3, ',')) add(('%5.2f|%-4d|%s|%q'):format(3.14159, 7, true, 'a')) "
        "add(('abc'):find('b', -2)) add(('abc'):find('', 10)) add(('abc'):find('', 4)) "
        "add(('a\\0b'):find('\\0')) add(('x^y'):find('^', 1, true)) "
        "return { o = table.concat(o, ' ') }",
        "{\"o\":\"5 7 3 4 2 2 key value 1 aabbcc 3 -a-b-c- 4 hell0 world 1 (a(b)c) 1 3 X ] a- abc "
        "x a 1 b 2 . . . . x,x,x  3.14|7   |true|\\\"a\\\" 2 2 nil 4 3 2 2 2 2\",\"index\":0}");
    refused(&vm, "return ('x'):find('[a')", "INTERNAL", "missing ']'");
    refused(&vm, "return ('x'):find('%')", "INTERNAL", "ends with '%'");
    refused(&vm, "return ('x'):gsub('x', '%9')", "INTERNAL", "invalid capture");
    refused(&vm, "return ('x'):gsub('x', '%a')", "INTERNAL", "invalid use of '%'");
    close_vm(&vm);
}

/* The table functions agree with Lua's own on ordinary use. */
static void test_table_functions(void **state)
{
    (void)state;
    struct vm vm;
    open_vm(&vm);
    granted(
        &vm,
        "local t = { 1, 2, 3 } table.insert(t, 4) table.insert(t, 1, 0) local r = table.remove(t) "
        "local f = table.remove(t, 1) local p = table.pack(table.unpack(t)) local m = "
        "table.move({ 1, 2, 3 }, 1, 3, 2) local e = table.remove({}) "
        "return { t = table.concat(t, ','), r = r, f = f, n = p.n, m = table.concat(m, ','), e = "
        "e == nil, part = table.concat({ 1, 2, 3 }, '-', 2, 3) }",
        "{\"e\":true,\"f\":0,\"m\":\"1,1,2,3\",\"n\":3,\"part\":\"2-3\",\"r\":4,\"t\":\"1,2,3\","
        "\"index\":0}");
    refused(&vm, "table.insert({}, 5, 1)", "INTERNAL", "out of bounds");
    refused(&vm, "table.remove({ 1 }, 5)", "INTERNAL", "out of bounds");
    close_vm(&vm);
}

/* Nothing is lost: a VM with all its garbage frees every block. */
static void test_leaks(void **state)
{
    (void)state;
    int64_t before = mem_test_live();
    struct vm vm;
    open_vm(&vm);
    for (int i = 0; i < 20; i++) {
        run(&vm, "while true do pcall(error) end");
        run(&vm, "return { x = ('x'):rep(1000) }");
        run(&vm, "error { message = 'no' }");
    }
    close_vm(&vm);
    assert_int_equal(mem_test_live(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytecode),
        cmocka_unit_test(test_whole_bytecode),
        cmocka_unit_test(test_loops),
        cmocka_unit_test(test_loop_place),
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_load_loops),
        cmocka_unit_test(test_unstoppable),
        cmocka_unit_test(test_c_functions),
        cmocka_unit_test(test_long_strings),
        cmocka_unit_test(test_effects),
        cmocka_unit_test(test_string_metatable),
        cmocka_unit_test(test_globals),
        cmocka_unit_test(test_isolation),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_shrink),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_recursion),
        cmocka_unit_test(test_deep_source),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_pairs_changes),
        cmocka_unit_test(test_sort),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_string_functions),
        cmocka_unit_test(test_table_functions),
        cmocka_unit_test(test_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
