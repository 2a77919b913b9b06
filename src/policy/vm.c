/* Refusals and plain values of the policy VM.
 *
 * Every refusal, whether a rule's, a command's or the store's, is one kind of Lua value: a
 * table with `code`, `message`, `hint` and what else the refusal knows (seat, rule,
 * alternative). Scripts may catch it with pcall; if none does, vm_error_protected() turns
 * it into the answer. Any other error value is a bug in Lua code: INTERNAL, with file and
 * line as Lua reports them. */
#include "policy/vm.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "policy/lua_json.h"

/* ---- Raising ------------------------------------------------------------------ */

static void push_refusal(lua_State *L, const struct error *e)
{
    lua_createtable(L, 0, 4);
    lua_pushstring(L, error_wire(e->code));
    lua_setfield(L, -2, "code");
    lua_pushstring(L, e->message);
    lua_setfield(L, -2, "message");
    if (e->hint[0] != 0) {
        lua_pushstring(L, e->hint);
        lua_setfield(L, -2, "hint");
    }
}

int vm_refuse(lua_State *L, const struct error *e)
{
    push_refusal(L, e);
    return lua_error(L);
}

int vm_refuse_seat(lua_State *L, const struct error *e, struct span seat)
{
    push_refusal(L, e);
    vm_push_span(L, seat);
    lua_setfield(L, -2, "seat");
    return lua_error(L);
}

int vm_refusef(lua_State *L, int code, const char *fmt, ...)
{
    struct error e;
    error_clear(&e);
    va_list args;
    va_start(args, fmt);
    (void)error_vset(&e, code, fmt, args);
    va_end(args);
    return vm_refuse(L, &e);
}

struct store *vm_store(lua_State *L)
{
    struct policy *p = vm_of(L);
    if (!p->in_call) {
        luaL_error(L, "there is no transaction here: tx lives during a command only");
    }
    return p->store;
}

static bool owned(const struct order *o, struct span id)
{
    return o != NULL && span_eq(order_id(o), id);
}

/* The first place of a take or reseat that somebody else has, for the refusal's `seat`. */
static struct span first_taken(struct store *s, const struct effect *f)
{
    for (uint32_t i = 0; i < f->places_count; i++) {
        const struct event *ev = store_event_number(s, f->places[i].event);
        uint32_t n = f->places[i].number;
        if (ev != NULL && !(n & PLACE_AREA) && n < chart_seats(ev->chart) &&
            store_seat(s, ev, n) != SEAT_FREE && !owned(store_seat_order(s, ev, n), f->id)) {
            return chart_label(ev->chart, n);
        }
    }
    return span_make(NULL, 0);
}

void vm_do(lua_State *L, const struct effect *f)
{
    struct policy *p = vm_of(L);
    struct store *s = vm_store(L);
    if (p->read_only || p->judging > 0) {
        luaL_error(L, p->judging > 0 ? "rules, prices and scores only look: they may not change "
                                       "anything"
                                     : "this command only reads: it may not change anything");
    }
    struct error e;
    error_clear(&e);
    sandbox_charge(L, POLICY_INSTRUCTIONS_PER_EFFECT + f->text.len / 16);
    if (f->kind != EFFECT_TAKE) {
        waiting_note(p, f); /* before: a move leaves no trace of where it was */
    }
    if (store_do(s, f, &e) == 0) {
        p->wrote = true;
        return;
    }
    if (e.code == ERR_TAKEN) {
        struct span seat = first_taken(s, f);
        if (seat.len > 0) {
            vm_refuse_seat(L, &e, seat);
        }
    }
    vm_refuse(L, &e);
}

/* ---- Error value -> answer ------------------------------------------------------ */

/* A refusal's member as a span; numbers are converted in place. */
static struct span member(lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER) {
        return span_make(NULL, 0);
    }
    size_t len;
    const char *s = lua_tolstring(L, -1, &len);
    return span_make(s, len);
}

/* Seats and areas may be given as objects: shows their label. */
static struct span seat_member(lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, 1);
    uint32_t event, number;
    if (lua_type(L, -1) == LUA_TUSERDATA && object_place(L, -1, &event, &number)) {
        const struct event *ev = store_event_number(vm_of(L)->store, event);
        return ev != NULL ? place_label(ev, number) : span_make(NULL, 0);
    }
    if (lua_type(L, -1) == LUA_TSTRING) {
        return vm_to_span(L, -1);
    }
    return span_make(NULL, 0);
}

static bool in_word(const struct span *s, size_t i)
{
    return i < s->len && (isalnum((unsigned char)s->data[i]) || s->data[i] == '_');
}

/* Whether the word SEAT stands at s[i]. */
static bool is_seat(const struct span *s, size_t i)
{
    return s->len - i >= 4 && memcmp(s->data + i, "SEAT", 4) == 0 && !in_word(s, i + 4) &&
           (i == 0 || !in_word(s, i - 1));
}

/* A refusal without a seat speaks of a seat. */
static void set_text(struct error *e, int code, struct span message, struct span seat)
{
    char text[ERROR_MESSAGE_BYTES];
    size_t n = 0;
    if (seat.len == 0) {
        seat = span_of("a seat");
    }
    for (size_t i = 0; i < message.len && n + 1 < sizeof(text); i++) {
        if (is_seat(&message, i)) {
            for (size_t k = 0; k < seat.len && n + 1 < sizeof(text); k++) {
                text[n++] = seat.data[k];
            }
            i += 3;
        } else {
            text[n++] = message.data[i];
        }
    }
    (void)error_set(e, code, "%.*s", (int)n, text);
}

static void put_fields(lua_State *L, struct buf *fields, struct span seat)
{
    struct span rule = member(L, "rule");
    if (rule.len > 0) {
        json_field_string(fields, "rule", rule);
    }
    if (seat.len > 0) {
        json_field_string(fields, "seat", seat);
    }
    lua_pushliteral(L, "policy");
    if (lua_rawget(L, 1) == LUA_TNUMBER) {
        json_field_int(fields, "policy", lua_tointeger(L, -1));
    }
    lua_pushliteral(L, "alternative");
    if (lua_rawget(L, 1) != LUA_TNIL) {
        json_put_key(fields, "alternative");
        lua_json_encode(L, -1, fields, render_object);
    }
}

/* Adds to the hint; what was there gives way where both are too long. */
static void add_hint(struct error *e, const char *more)
{
    char old[ERROR_HINT_BYTES];
    size_t room = sizeof old - 1, len = strlen(more) + 2;
    (void)snprintf(old, sizeof old, "%s", e->hint);
    error_hint(e, "%.*s%s%s", (int)(len < room ? room - len : 0), old, old[0] != 0 ? "; " : "",
               more);
}

/* One line is all that RESP has for a refusal: it names the rule and the policy's version, and in
 * a dry run what every rule said. */
static void name_rules(lua_State *L, struct error *e)
{
    char text[ERROR_HINT_BYTES / 2];
    struct span rule = member(L, "rule");
    lua_pushliteral(L, "policy");
    lua_Integer version = lua_rawget(L, 1) == LUA_TNUMBER ? lua_tointeger(L, -1) : 0;
    int shown = rule.len < 64 ? (int)rule.len : 64;
    if (rule.len > 0 && version > 0) {
        (void)snprintf(text, sizeof text, "rule %.*s of policy %lld", shown, rule.data,
                       (long long)version);
        add_hint(e, text);
    } else if (rule.len > 0) {
        (void)snprintf(text, sizeof text, "rule %.*s", shown, rule.data);
        add_hint(e, text);
    }
    if (vm_of(L)->dry_run && rules_trace_text(L, text, sizeof text) > 0) {
        add_hint(e, text);
    }
}

/* [error value] Runs in a pcall of its own: even this may run out of memory. */
int vm_error_protected(lua_State *L)
{
    struct policy_answer *out = vm_of(L)->out;
    lua_settop(L, 1);
    if (lua_type(L, 1) != LUA_TTABLE) {
        size_t len;
        const char *text = sandbox_tostring(L, 1, &len);
        out->code = error_set(&out->error, ERR_INTERNAL, "%.*s", (int)len, text);
        error_hint(&out->error, "this is a mistake in the policy or command, not in the request");
        return 0;
    }
    struct span wire = member(L, "code"), message = member(L, "message");
    int code = wire.len > 0 ? error_from_wire(wire.data, wire.len) : ERR_DENIED;
    if (code == 0) {
        code = ERR_DENIED;
    }
    struct span seat = seat_member(L, "seat");
    if (message.len == 0) {
        message = span_of(error_text(code));
    }
    set_text(&out->error, code, message, seat);
    struct span hint = member(L, "hint");
    if (hint.len > 0) {
        error_hint(&out->error, "%.*s", (int)hint.len, hint.data);
    }
    name_rules(L, &out->error);
    out->code = code;
    put_fields(L, &out->fields, seat);
    return 0;
}

/* ---- Values ----------------------------------------------------------------------- */

int vm_misuse(lua_State *L, const char *fmt, ...)
{
    char text[ERROR_MESSAGE_BYTES], where[SANDBOX_WHERE_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    sandbox_where(L, where);
    lua_pushfstring(L, "%s%s%s", where, where[0] != 0 ? ": " : "", text);
    return lua_error(L);
}

const char *vm_place_of_memory(lua_State *L)
{
    const char *at = sandbox_of(L)->full;
    return at[0] != 0 ? at : "policy.lua";
}

void vm_where_defined(lua_State *L, int index, char where[SANDBOX_WHERE_BYTES])
{
    lua_Debug at;
    lua_pushvalue(L, index);
    lua_getinfo(L, ">S", &at);
    if (at.linedefined > 0) {
        (void)snprintf(where, SANDBOX_WHERE_BYTES, "%s:%d", at.short_src, at.linedefined);
    } else {
        (void)snprintf(where, SANDBOX_WHERE_BYTES, "a function of Usher");
    }
}

void vm_push_span(lua_State *L, struct span s)
{
    lua_pushlstring(L, s.data != NULL ? s.data : "", s.len);
}

struct span vm_to_span(lua_State *L, int index)
{
    size_t len;
    const char *s = lua_tolstring(L, index, &len);
    return span_make(s, len);
}

struct span vm_check_span(lua_State *L, int index, const char *what)
{
    if (lua_type(L, index) != LUA_TSTRING) {
        vm_misuse(L, "%s must be a string, not %s", what, luaL_typename(L, index));
    }
    return vm_to_span(L, index);
}

void vm_check_type(lua_State *L, int index, int type, const char *what)
{
    if (lua_type(L, index) != type) {
        vm_misuse(L, "%s must be a %s, not a %s", what, lua_typename(L, type),
                  luaL_typename(L, index));
    }
}

lua_Integer vm_check_integer(lua_State *L, int index, const char *what)
{
    int exact = 0;
    lua_Integer n = lua_tointegerx(L, index, &exact);
    if (!exact || lua_type(L, index) != LUA_TNUMBER) {
        vm_misuse(L, "%s must be a whole number", what);
    }
    return n;
}

uint64_t vm_check_duration(lua_State *L, int index, const char *what)
{
    uint64_t ms = 0;
    if (lua_isinteger(L, index) && lua_tointeger(L, index) >= 0) {
        return (uint64_t)lua_tointeger(L, index);
    }
    if (lua_type(L, index) != LUA_TSTRING || !text_duration_ms(vm_to_span(L, index), &ms)) {
        vm_misuse(L, "%s must be a duration: milliseconds or a text like \"15m\"", what);
    }
    return ms;
}

struct span vm_check_json(lua_State *L, int index, const char *what)
{
    struct span text = vm_check_span(L, index, what);
    struct error e;
    error_clear(&e);
    if (text.len > JSON_TEXT_BYTES_MAX) {
        vm_refusef(L, ERR_TOOBIG, "%s: %zu bytes, at most %d are kept", what, text.len,
                   JSON_TEXT_BYTES_MAX);
    }
    if (text.len > 0 && lua_json_check(text, &e) != 0) {
        error_prefix(&e, "%s", what);
        vm_refuse(L, &e);
    }
    return text;
}

int vm_fields_next(lua_State *L, int table, const char *const *names, const char *what)
{
    if (!lua_next(L, table)) {
        return -1;
    }
    if (lua_type(L, -2) == LUA_TSTRING) {
        const char *key = lua_tostring(L, -2);
        for (int i = 0; names[i] != NULL; i++) {
            if (names[i][0] == key[0] && strcmp(names[i], key) == 0) {
                return i;
            }
        }
        const char *near = text_nearest(span_of(key), names);
        if (near != NULL) {
            vm_misuse(L, "%s: unknown field '%s', did you mean '%s'?", what, key, near);
        }
        vm_misuse(L, "%s: unknown field '%s'", what, key);
    }
    return vm_misuse(L, "%s: fields have names, not numbers", what);
}
