/* Plays commands over the real policy VM and the real store, one line each:
 *
 *   play(&p, "x = hold 1 ann A1 A2", "{'status':'held','expires_at':601000}");
 *   play(&p, "book 1 bob A2", "!TAKEN A2 is held {'seat':'A2'}");
 *   play(&p, "pass 16m", "");
 *
 * In both texts ' stands for ". In the line `...` quotes a word with blanks, $x is the order
 * id that `x = ` saved ($x1, $x2: those of `orders`), and a prefix `client: ` sets the
 * user's access (admin otherwise). Lines that are no commands: `pass DURATION` lets time go
 * by and expires holds; `policy LUA` loads a bundle of that one file; `again` renders the
 * last granted answer from a result, as a repeated request id does.
 *
 * The answer is compared as JSON: every member that is wanted must be there and equal, lists
 * element by element; "*" is anything, "~x" a text that contains x, "(absent)" nothing at all.
 * "!CODE text {json}": a refusal, whose message and hint contain `text`.
 *
 * With USHER_LUA=lua the Lua files are read from there, so an edit needs no build.
 *
 * After each step the store's invariants are checked; after a refusal, a read or a dry run
 * its digest must be what it was before. */
#ifndef USHER_TESTS_LIB_PLAY_H
#define USHER_TESTS_LIB_PLAY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "base/text.h"
#include "policy/lua_json.h"
#include "policy/policy.h"

struct play {
    struct store *store;
    struct policy *policy;
    struct registry *registry;
    lua_State *L;     /* compares answers */
    char ids[26][48]; /* a .. z, set by "x = " */
    char ids2[26][48];
    uint64_t now_ms, index;
    uint32_t version;
    char last_line[2000]; /* of the last granted command, for `again` */
    struct result last;
    char last_order[48], last_order2[48];
};

static const char play_compare[] =
    "local match\n"
    "local function show(v) return v == nil and 'nothing' or json.encode(v) end\n"
    "function match(want, got, at)\n"
    "  if want == '*' then return got ~= nil or (at .. ' is missing') end\n"
    "  if want == '(absent)' then return got == nil or (at .. ' is ' .. show(got)) end\n"
    "  if type(want) == 'string' and want:sub(1, 1) == '~' and type(got) == 'string' then\n"
    "    return got:find(want:sub(2), 1, true) ~= nil or (at .. ' is ' .. show(got))\n"
    "  end\n"
    "  if type(want) ~= 'table' then\n"
    "    return want == got or (at .. ' is ' .. show(got) .. ', not ' .. show(want))\n"
    "  end\n"
    "  if type(got) ~= 'table' then return at .. ' is ' .. show(got) end\n"
    "  if json.is_list(want) ~= json.is_list(got) then return at .. ' is ' .. show(got) end\n"
    "  if json.is_list(want) and #want ~= #got then return at .. ' is ' .. show(got) end\n"
    "  for k, v in pairs(want) do\n"
    "    local r = match(v, got[k], at .. '.' .. tostring(k))\n"
    "    if r ~= true then return r end\n"
    "  end\n"
    "  return true\n"
    "end\n"
    "function compare(want, got)\n"
    "  return match(assert(json.decode(want)), assert(json.decode(got)), 'answer')\n"
    "end\n";

/* Of a transaction in the next house; 0: the default. A test of these budgets sets them: the
 * defaults take a slow machine so long that the budget of time ends it first. */
static uint64_t play_instructions;
static size_t play_memory;

static inline void play_open(struct play *p)
{
    struct error e = { 0 };
    struct policy_options o = { .seed = { 1, 2 },
                                .instructions_max = play_instructions,
                                .memory_max = play_memory,
                                .lua_dir = getenv("USHER_LUA") };
    memset(p, 0, sizeof *p);
    p->now_ms = 1000;
    p->store = store_new();
    p->registry = registry_new();
    if (policy_new(&o, p->registry, &p->policy, &e) != 0) {
        fail_msg("policy_new: %s", e.message);
    }
    p->L = luaL_newstate();
    luaL_openlibs(p->L);
    lua_json_open(p->L, NULL);
    lua_setglobal(p->L, "json");
    assert_int_equal(luaL_dostring(p->L, play_compare), LUA_OK);
}

static inline void play_close(struct play *p)
{
    policy_free(p->policy);
    registry_free(p->registry);
    store_free(p->store);
    lua_close(p->L);
}

/* ---- Text ----------------------------------------------------------------- */

/* ' becomes " (in a refusal only within its JSON), $x the saved id. */
static inline void play_expand(struct play *p, const char *text, char *out, size_t cap)
{
    size_t n = 0;
    bool json = *text != '!';
    for (; *text != 0 && n + 60 < cap; text++) {
        if (*text == '$' && text[1] >= 'a' && text[1] <= 'z') {
            unsigned i = (unsigned)(*++text - 'a');
            const char *id = p->ids[i];
            if (text[1] == '1' || text[1] == '2') {
                id = *++text == '2' ? p->ids2[i] : id;
            }
            n += (size_t)snprintf(out + n, cap - n, "%s", id);
        } else {
            json = json || *text == '{';
            out[n++] = json && *text == '\'' ? '"' : *text;
        }
    }
    assert_true(*text == 0);
    out[n] = 0;
}

static inline size_t play_split(char *line, struct span *words, size_t max)
{
    size_t n = 0;
    while (*line != 0) {
        bool quoted = *line == '`';
        line += quoted;
        size_t len = strcspn(line, quoted ? "`" : " ");
        assert_true(n < max);
        words[n++] = span_make(line, len);
        line += len;
        line += quoted && *line != 0;
        line += strspn(line, " ");
    }
    return n;
}

/* ---- Comparing ------------------------------------------------------------ */

static inline void play_match(struct play *p, const char *line, struct span want, struct span got)
{
    lua_State *L = p->L;
    lua_settop(L, 0);
    lua_getglobal(L, "compare");
    lua_pushlstring(L, want.data, want.len);
    lua_pushlstring(L, got.len > 0 ? got.data : "", got.len);
    if (lua_pcall(L, 2, 1, 0) != LUA_OK || !lua_isboolean(L, -1)) {
        fail_msg("%s\n   got %.*s\n  want %.*s\n  %s", line, (int)got.len, got.data, (int)want.len,
                 want.data, lua_tostring(L, -1));
    }
}

static inline void play_refusal(struct play *p, const char *line, const char *want,
                                const struct policy_answer *a)
{
    char code[20], text[1000], got[1000];
    size_t n = strcspn(want, " ");
    snprintf(code, sizeof code, "%.*s", (int)n, want);
    want += n + (want[n] == ' ');
    const char *json = strchr(want, '{');
    n = json != NULL ? (size_t)(json - want) : strlen(want);
    while (n > 0 && want[n - 1] == ' ') {
        n--;
    }
    snprintf(text, sizeof text, "%.*s", (int)n, want);
    error_format(&a->error, got, sizeof got);
    if (strcmp(error_wire(a->code), code) != 0 || strstr(got, text) == NULL) {
        fail_msg("%s\n   got %s {%.*s}\n  want %s %s", line, got, (int)a->fields.len,
                 (const char *)a->fields.data, code, text);
    }
    if (json != NULL) {
        struct buf fields = BUF_INIT;
        buf_put_u8(&fields, '{');
        buf_put(&fields, a->fields.data, a->fields.len);
        buf_put_u8(&fields, '}');
        play_match(p, line, span_of(json), span_make((char *)fields.data, fields.len));
        buf_free(&fields);
    }
}

/* ---- Steps ---------------------------------------------------------------- */

static inline void play_begin(struct play *p)
{
    p->index++;
    store_group_begin(p->store, p->now_ms, p->index);
}

static inline void play_end(struct play *p)
{
    struct error e = { 0 };
    store_group_seal(p->store);
    store_group_commit(p->store);
    if (store_check(p->store, &e) != 0) {
        fail_msg("store_check: %s", e.message);
    }
}

static inline bool play_expired(void *arg, const char *command, struct span effects)
{
    (void)arg;
    (void)command;
    assert_true(effects.len > 0);
    return true;
}

static inline void play_pass(struct play *p, const char *duration)
{
    uint64_t ms;
    assert_true(text_duration_ms(span_of(duration), &ms));
    p->now_ms += ms;
    play_begin(p);
    (void)policy_expire(p->policy, p->store, p->now_ms, p->index, 1000, play_expired, NULL);
    play_end(p);
}

static inline void play_policy(struct play *p, const char *text, const char *want)
{
    struct buf bundle = BUF_INIT;
    struct error e = { 0 };
    policy_bundle_begin(&bundle);
    policy_bundle_add(&bundle, span_of("policy.lua"), span_of(text));
    int rc = policy_load(p->policy, p->version + 1, span_make((char *)bundle.data, bundle.len), &e);
    buf_free(&bundle);
    if (*want == '!') {
        if (rc == 0 || strstr(e.message, want + 1) == NULL) {
            fail_msg("policy: got %s, want %s", rc == 0 ? "no error" : e.message, want + 1);
        }
        return;
    }
    if (rc != 0) {
        fail_msg("policy: %s", e.message);
    }
    p->version++;
}

static inline void play_save(struct play *p, char name, const struct policy_answer *a)
{
    snprintf(p->last_order, sizeof p->last_order, "%.*s", (int)a->order.len,
             a->order.data != NULL ? a->order.data : "");
    snprintf(p->last_order2, sizeof p->last_order2, "%.*s", (int)a->order2.len,
             a->order2.data != NULL ? a->order2.data : "");
    if (name != 0) {
        memcpy(p->ids[name - 'a'], p->last_order, sizeof p->last_order);
        memcpy(p->ids2[name - 'a'], p->last_order2, sizeof p->last_order2);
    }
    p->last = (struct result){ .index = p->index,
                               .time_ms = p->now_ms,
                               .order = span_of(p->last_order),
                               .order2 = span_of(p->last_order2) };
}

static inline void play_evaluate(struct play *p, const struct call *call, bool again,
                                 const struct policy_user *user, struct policy_answer *a)
{
    bool writes = call->def->read == READ_NONE && !again;
    uint64_t digest = store_digest(p->store);
    if (writes) {
        play_begin(p);
        store_tx_begin(p->store);
    }
    if (again) {
        policy_answer_again(p->policy, p->store, call, &p->last, p->index, a);
    } else {
        policy_evaluate(p->policy, p->store, call, user, p->now_ms, p->index, a);
    }
    if (writes) {
        store_tx_end(p->store);
    }
    if (!writes || a->code != 0 || call->dry_run) {
        assert_true(store_digest(p->store) == digest);
        assert_false(a->wrote);
    }
    if (writes) {
        play_end(p);
    }
}

static inline void play(struct play *p, const char *text, const char *want_text)
{
    char line[2000], want[4000], shown[2100], name = 0;
    static struct span words[600];
    bool again = strcmp(text, "again") == 0;
    if (strncmp(text, "policy ", 7) == 0) {
        play_policy(p, text + 7, want_text);
        return;
    }
    if (strncmp(text, "pass ", 5) == 0) {
        play_pass(p, text + 5);
        return;
    }
    play_expand(p, again ? p->last_line : text, line, sizeof line);
    play_expand(p, want_text, want, sizeof want);
    snprintf(shown, sizeof shown, "%s%s", again ? "(again) " : "", line);
    char *at = line;
    if (at[0] != 0 && strncmp(at + 1, " = ", 3) == 0) {
        name = at[0];
        at += 4;
    }
    struct policy_user user = { .name = span_of("test"), .access = ACCESS_ADMIN };
    static const char *const levels[] = { "public: ", "client: ", "operator: ", "admin: " };
    for (int i = 0; i < 4; i++) {
        if (strncmp(at, levels[i], strlen(levels[i])) == 0) {
            user.access = i;
            at += strlen(levels[i]);
        }
    }
    struct call call = { 0 };
    struct policy_answer a = { 0 };
    size_t n = play_split(at, words, 600);
    if (call_parse(p->registry, n, words, &call, &a.error) != 0) {
        a.code = a.error.code;
    } else {
        play_evaluate(p, &call, again, &user, &a);
    }
    if (want[0] == '!') {
        if (a.code == 0) {
            fail_msg("%s\n   got %.*s\n  want %s", shown, (int)a.json.len, (char *)a.json.data,
                     want);
        }
        play_refusal(p, shown, want + 1, &a);
    } else {
        if (a.code != 0) {
            char got[1000];
            error_format(&a.error, got, sizeof got);
            fail_msg("%s\n   got %s\n  want %s", shown, got, want);
        }
        play_match(p, shown, span_of(want), span_make((char *)a.json.data, a.json.len));
        if (!again) {
            play_save(p, name, &a);
            snprintf(p->last_line, sizeof p->last_line, "%s", text);
        }
    }
    policy_answer_free(&a);
    call_free(&call);
}

struct play_step {
    const char *line, *want;
};

/* A whole scenario on a fresh store. */
static inline void play_all(const struct play_step *steps, size_t count)
{
    struct play p;
    play_open(&p);
    for (size_t i = 0; i < count; i++) {
        play(&p, steps[i].line, steps[i].want);
    }
    play_close(&p);
}
#define PLAY(...)                                                                                  \
    play_all((const struct play_step[]){ __VA_ARGS__ },                                            \
             sizeof((const struct play_step[]){ __VA_ARGS__ }) / sizeof(struct play_step))

#endif
