/* JSON text and the `json` library of Lua (lua.md 1), compared with lua-cjson where the
 * two must agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lua-cjson.h>
#include <lua.h>
#include <lualib.h>

#include "base/limits.h"
#include "base/mem.h"
#include "lib/rng.h"
#include "policy/lua_json.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* A userdata that renders as {"u":1}; any other does not. */
static bool other(lua_State *L, int index, struct buf *out)
{
    if (*(int *)lua_touserdata(L, index) != 1) {
        return false;
    }
    buf_put_str(out, "{\"u\":1}");
    return true;
}

static int l_user(lua_State *L)
{
    *(int *)lua_newuserdatauv(L, sizeof(int), 0) = (int)lua_tointeger(L, 1);
    return 1;
}

static lua_State *L;

static int setup(void **state)
{
    (void)state;
    L = luaL_newstate();
    luaL_openlibs(L);
    lua_json_open(L, other);
    lua_setglobal(L, "json");
    luaopen_cjson(L);
    lua_setglobal(L, "cjson");
    lua_register(L, "user", l_user);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lua_close(L);
    assert_int_equal(mem_test_live(), 0);
    return 0;
}

static void run(const char *code)
{
    if (luaL_dostring(L, code) != LUA_OK) {
        fail_msg("%s", lua_tostring(L, -1));
    }
    lua_settop(L, 0);
}

/* ---- Text ---------------------------------------------------------------- */

/* What RFC 8259 allows is accepted, nothing else. */
static void test_check(void **state)
{
    (void)state;
    static const char *const good[] = {
        "null",
        "true",
        " [ ] ",
        "{}",
        "[1,2]",
        "{\"a\":{\"b\":[]}}",
        "-0",
        "0.5",
        "1e5",
        "1E-5",
        "\"\\u00e4\\ud83d\\ude00\"",
        "\"\xc3\xa4\"",
        "\t\r\n1 ",
        "9223372036854775807",
        "123456789012345678901234567890",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\"",
    };
    static const struct {
        const char *text, *message;
    } bad[] = {
        { "", "empty text" },
        { " ", "ends too early at byte 1" },
        { "[", "ends too early" },
        { "[1", "ends too early" },
        { "[1,", "ends too early" },
        { "[1,]", "a value is expected at byte 3" },
        { "[1 2]", "',' or ']' is expected at byte 3" },
        { "{\"a\" 1}", "':' is expected" },
        { "{\"a\":1,}", "a name in quotes" },
        { "{a:1}", "a name in quotes is expected at byte 1" },
        { "{\"a\":}", "a value is expected" },
        { "[1}", "',' or ']'" },
        { "{\"a\":1]", "',' or '}'" },
        { "]", "a value is expected" },
        { "1 2", "something follows the value at byte 2" },
        { "nul", "a value is expected" },
        { "NaN", "a value is expected" },
        { "Infinity", "a value is expected" },
        { "01", "wrong number" },
        { "-", "wrong number" },
        { "1.", "wrong number" },
        { "1.e5", "wrong number" },
        { ".5", "a value is expected" },
        { "1e", "wrong number" },
        { "0x10", "something follows" },
        { "+1", "a value is expected" },
        { "1e999", "number too large" },
        { "\"a", "string without an end" },
        { "\"a\nb\"", "control byte in a string" },
        { "\"\\x\"", "wrong escape" },
        { "\"\\u12\"", "wrong escape" },
        { "\"\\ud800\"", "wrong escape" },
        { "\"\\ud800\\u0041\"", "wrong escape" },
        { "\"\\udc00\"", "wrong escape" },
        { "\"\\", "wrong escape" },
        { "\"\xff\"", "not UTF-8" },
        { "\"\xc0\x80\"", "not UTF-8" },
        { "\"\xed\xa0\x80\"", "not UTF-8" },
        { "\xef\xbb\xbf{}", "a value is expected" },
        { "[\n\n1,\n]", "byte 6, line 4" },
        { "// c\n1", "a value is expected" },
        { "'a'", "a value is expected" },
    };
    struct error e;
    for (size_t i = 0; i < COUNT(good); i++) {
        e = (struct error){ 0 };
        if (json_check(span_of(good[i]), &e) != 0) {
            fail_msg("%s: %s", good[i], e.message);
        }
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        e = (struct error){ 0 };
        if (json_check(span_of(bad[i].text), &e) != ERR_BADARG ||
            strstr(e.message, bad[i].message) == NULL) {
            fail_msg("%s: %s", bad[i].text, e.message);
        }
    }
    assert_int_equal(json_check(span_make("1\0", 2), &e), ERR_BADARG);
    assert_int_equal(json_check(span_make("\"\0\"", 3), &e), ERR_BADARG);
    assert_int_equal(json_check((struct span){ 0 }, &e), ERR_BADARG);
}

/* Depth is limited exactly at JSON_DEPTH_MAX, and 10,000 levels cost nothing. */
static void test_depth(void **state)
{
    (void)state;
    char text[20001];
    struct error e;
    for (int depth = JSON_DEPTH_MAX; depth <= 10000; depth = depth * 2 + 1) {
        for (int object = 0; object < 2 && depth < 3000; object++) {
            struct buf b = BUF_INIT;
            for (int i = 0; i < depth; i++) {
                buf_put_str(&b, object ? "{\"a\":" : "[");
            }
            buf_put_str(&b, "1");
            for (int i = 0; i < depth; i++) {
                buf_put_str(&b, object ? "}" : "]");
            }
            int rc = json_check(span_make((char *)b.data, b.len), &e);
            assert_int_equal(rc, depth <= JSON_DEPTH_MAX ? 0 : ERR_BADARG);
            buf_free(&b);
        }
    }
    memset(text, '[', 10000);
    memset(text + 10000, ']', 10000);
    assert_int_equal(json_check(span_make(text, 20000), &e), ERR_BADARG);
    assert_non_null(strstr(e.message, "nested too deeply at byte 64"));
}

/* ---- Lua ----------------------------------------------------------------- */

/* Values keep their kind both ways: 6 is 6, 6.0 is 6.0, [] is a list, null is nil. */
static void test_round_trip(void **state)
{
    (void)state;
    run("for _, text in ipairs{'6', '6.0', '-0.5', '1e+100', '9223372036854775807', '[]', '{}',"
        " '[[],{}]', '[1,\"a\",true]', '{\"a\":[],\"b\":{}}', '[1,null,3]', '\"\\\\u0001\"', '0.1',"
        " '-9223372036854775808', '{\"a\":{\"b\":[{}]}}', 'false', '\"\"', '[null,1]'} "
        "do\n"
        " local v, m = json.decode(text)\n"
        " assert(m == nil, m)\n"
        " local again = json.encode(v)\n"
        " assert(again == text, text .. ' became ' .. again)\nend");
    run("assert(math.type(json.decode('6')) == 'integer')");
    run("assert(math.type(json.decode('6.0')) == 'float')");
    run("assert(json.decode('null') == nil and select('#', json.decode('null')) == 1)");
    run("assert(json.decode('{\"a\":null}').a == nil)");
    run("assert(json.decode('123456789012345678901') == 123456789012345678901)");
    run("assert(json.decode('\"\\\\ud83d\\\\ude00\\\\u0000x\"') == '\\u{1F600}\\0x')");
    run("assert(json.decode('{\"a\":1,\"a\":2}').a == 2)");
    run("assert(json.encode(nil) == 'null')");
    run("assert(json.encode{b=1, a=2, ['']=3, ['a b']=4} == '{\"\":3,\"a\":2,\"a b\":4,\"b\":1}')");
    run("local t = {} for i = 1, 40 do t[('k%02d'):format(41 - i)] = i end\n"
        "local text = json.encode(t) assert(text:sub(1, 19) == '{\"k01\":40,\"k02\":39,', text)");
    run("assert(json.encode(json.list()) == '[]' and json.encode(json.list{}) == '[]')");
    run("assert(json.encode(json.list{1}) == '[1]' and json.encode{} == '{}')");
    run("assert(json.encode{user(1)} == '[{\"u\":1}]')");
    run("assert(json.is_list(json.decode'[]') and not json.is_list{} and json.is_list{1})");
    run("assert(json.encode'\\u{e4}\\127' == '\"\\u{e4}\\\\u007f\"')");
    run("local l = json.list{} assert(getmetatable(l) == false) assert(not pcall(setmetatable, l, "
        "{}))");
    run("local l = json.list{} l[1] = 5 assert(json.list(l) == l and json.encode(l) == '[5]')");
}

/* What cannot be told as JSON is refused, with its place. */
static void test_encode_refusals(void **state)
{
    (void)state;
    run("local function refused(v, text)\n"
        " local ok, m = pcall(json.encode, v)\n"
        " assert(not ok, 'was accepted')\n"
        " assert(m:find(text, 1, true), m)\nend\n"
        "refused(print, 'a function')\n"
        "refused({a={1, print}}, 'a function cannot be encoded at .a[2]')\n"
        "refused(0/0, 'NaN') refused({x=1/0}, 'an infinite number cannot be encoded at .x')\n"
        "refused({n=-1/0}, 'infinite')\n"
        "refused('\\xff', 'not UTF-8') refused({['\\xff']=1}, 'a key that is not UTF-8')\n"
        "refused({1, a=2}, 'neither a list nor an object') refused({[1.5]=1}, 'neither')\n"
        "refused({[true]=1}, 'neither') refused({[0]=1}, 'neither')\n"
        "refused(json.list{a=1}, 'neither') refused({[1000]=1}, 'so many holes')\n"
        "local t = {} t.t = t refused(t, 'nested too deeply')\n"
        "refused(user(2), 'a userdata') refused({user(2)}, 'a userdata cannot be encoded at [1]')\n"
        "local s = ('x'):rep(1 << 20) local many = {} for i = 1, 33 do many[i] = s end\n"
        "refused(many, 'more than 32 MiB of text')\n"
        "local t = {} for _ = 1, 40 do t = {t, t} end refused(t, 'more than 2000000 values')\n"
        "assert(not pcall(json.encode)) assert(not pcall(json.list, 5))\n"
        "assert(not pcall(json.list, setmetatable({}, {})))");
    run("local deep = 1 for _ = 1, 64 do deep = {deep} end json.encode(deep)\n"
        "assert(not pcall(json.encode, {deep}))");
}

/* Wrong text is a failure with code BADARG, not an error. */
static void test_decode_failure(void **state)
{
    (void)state;
    run("local v, message, code = json.decode('[1,')\n"
        "assert(v == nil and code == 'BADARG' and message:find('JSON: the text ends too early'))");
    run("assert(not pcall(json.decode)) assert(not pcall(json.decode, {}))");
    run("assert(select('#', json.decode('{\"a\":[1,{\"b\":}]}')) == 3)");
    lua_json_decode(L, span_of("[1,{\"a\":[]}]"));
    assert_int_equal(lua_gettop(L), 1);
    struct buf out = BUF_INIT;
    lua_json_encode(L, -1, &out, NULL);
    assert_int_equal(lua_gettop(L), 1);
    assert_memory_equal(out.data, "[1,{\"a\":[]}]", 12);
    buf_free(&out);
}

/* ---- Random values, and lua-cjson as the oracle --------------------------- */

static void random_value(struct rng *r, struct buf *b, int depth)
{
    static const char *const scalars[] = { "true",    "false",        "1",     "-7",
                                           "\"x\"",   "1.5",          "\"\"",  "1e3",
                                           "\"\\n\"", "\"\xc3\xa4\"", "99999", "0.25" };
    uint32_t kind = rng_below(r, depth > 5 ? 3 : 6);
    if (kind < 3) {
        buf_put_str(b, scalars[rng_below(r, COUNT(scalars))]);
        return;
    }
    bool object = kind == 3;
    uint32_t n = rng_below(r, 5) + 1; /* lua-cjson cannot tell [] from {} */
    buf_put_str(b, object ? "{" : "[ ");
    for (uint32_t i = 0; i < n; i++) {
        buf_put_str(b, i > 0 ? " ," : "");
        if (object) {
            buf_printf(b, "\"k%u\" :", (unsigned)i);
        }
        random_value(r, b, depth + 1);
    }
    buf_put_str(b, object ? "}" : "]");
}

/* On text that lua-cjson understands fully, both decode to the same; encoding and
 * decoding again changes nothing; cutting or changing a byte never crashes. */
static void test_random(void **state)
{
    (void)state;
    struct rng r = { rng_seed_from_env(7) };
    run("function same(a, b)\n"
        " if type(a) ~= 'table' then return a == b end\n"
        " for k, v in pairs(a) do if not same(v, b[k]) then return false end end\n"
        " for k in pairs(b) do if a[k] == nil then return false end end\n"
        " return true\nend\n"
        "function check(text)\n"
        " local v, m = json.decode(text) assert(m == nil, m)\n"
        " assert(same(v, cjson.decode(text)), text)\n"
        " local e = json.encode(v)\n"
        " assert(json.encode(json.decode(e)) == e and same(json.decode(e), v), e)\nend");
    for (int i = 0; i < 3000; i++) {
        struct buf b = BUF_INIT;
        random_value(&r, &b, 0);
        lua_getglobal(L, "check");
        lua_pushlstring(L, (char *)b.data, b.len);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
            fail_msg("%s", lua_tostring(L, -1));
        }
        for (int k = 0; k < 5; k++) {
            char *copy = malloc(b.len); /* exact size: ASan sees a read past the end */
            memcpy(copy, b.data, b.len);
            copy[rng_below(&r, (uint32_t)b.len)] = (char)rng_next(&r);
            (void)json_check(span_make(copy, rng_below(&r, (uint32_t)b.len + 1)), NULL);
            free(copy);
        }
        buf_free(&b);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_check),           T(test_depth),          T(test_round_trip),
        T(test_encode_refusals), T(test_decode_failure), T(test_random),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
