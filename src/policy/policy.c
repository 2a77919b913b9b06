/* The policy VM: policy.h.
 *
 * One evaluation:
 *
 *   policy_evaluate   marks the store, fills the call, resumes the coroutine
 *     entry           the coroutine's C function: pcalls `body`
 *       body          builds req, calls the command's run(tx, req), renders its answer
 *     entry           turns an error into code, message, fields
 *   policy_evaluate   undoes the effects unless the call was granted and is no dry run
 *
 * How it can end: `entry` returns (granted or refused; the coroutine is used again); it is
 * suspended by the budget hook (never resumed, dropped for a new one); the coroutine itself
 * died (out of memory or C stack outside any pcall; dropped likewise).
 *
 * V1 nothing a script does leaves policy_evaluate otherwise than by its answer.
 * V2 code != 0 or dry_run: the store is as it was at the mark.
 * V3 no C resource is held across a call into Lua: buffers belong to the answer or the VM. */
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "policy/lua_json.h"
#include "policy/vm.h"

/* ---- Running Lua ------------------------------------------------------------------- */

static int vm_random(lua_State *L, uint64_t *out)
{
    struct policy *p = vm_of(L);
    if (!p->in_call) {
        return -1;
    }
    *out = random_u64(&p->random);
    return 0;
}

/* Makes a fresh coroutine; the old one, if any, is left to the collector. */
static int new_coroutine(lua_State *L)
{
    struct policy *p = vm_of(L);
    lua_State *co = lua_newthread(L);
    luaL_unref(L, LUA_REGISTRYINDEX, p->co_ref);
    p->co_ref = LUA_NOREF;
    p->co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    p->co = co;
    return 0;
}

static int renew(struct policy *p, struct error *e)
{
    lua_State *L = p->sb.L;
    p->co = NULL;
    lua_settop(L, 0);
    lua_pushcfunction(L, new_coroutine);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
        lua_settop(L, 0);
        return error_set(e, ERR_NOMEM, "no memory for a coroutine");
    }
    return 0;
}

/* Runs a C function in the coroutine under a budget. 0, or an error that says what went
 * wrong; the function itself reports refusals by other means. */
static int run(struct policy *p, lua_CFunction f, uint64_t budget, struct error *e)
{
    if (p->co == NULL && renew(p, e) != 0) {
        return e->code;
    }
    lua_State *co = p->co;
    int results = 0;
    lua_settop(co, 0);
    lua_pushcfunction(co, f);
    sandbox_arm(&p->sb, co, budget);
    int status = lua_resume(co, p->sb.L, 0, &results);
    if (status == LUA_OK && !p->sb.over) {
        lua_settop(co, 0);
        return 0;
    }
    if (p->sb.over) {
        (void)error_set(e, ERR_INTERNAL, "ran over its budget of %llu instructions at %s",
                        (unsigned long long)budget,
                        p->sb.where[0] != 0 ? p->sb.where : "its start");
        error_hint(e, "the policy or command loops, or does too much at once");
    } else {
        const char *why = lua_type(co, -1) == LUA_TSTRING ? lua_tostring(co, -1) : "unknown error";
        (void)error_set(e, ERR_INTERNAL, "%s", why);
    }
    (void)renew(p, NULL);
    return ERR_INTERNAL;
}

/* ---- The request ---------------------------------------------------------------------- */

/* What a bare seat label refers to: the nearest event or order argument before it. */
struct context {
    const struct event *ev;
    const struct order *order;
};

static int refuse_missing(lua_State *L, const char *what, struct span id)
{
    return vm_refusef(L, ERR_NOTFOUND, "there is no %s '%.*s'", what,
                      (int)(id.len < 128 ? id.len : 128), id.data);
}

/* [-0, +1] one resolved value. */
static void push_value(lua_State *L, const struct call_value *v, struct context *c)
{
    struct store *s = vm_of(L)->store;
    switch (v->def->type) {
    case ARG_INT:
    case ARG_MONEY:
    case ARG_DURATION:
    case ARG_TIME: lua_pushinteger(L, v->number); break;
    case ARG_BOOL: lua_pushboolean(L, v->number != 0); break;
    case ARG_EVENT: {
        const struct event *ev = store_event(s, v->text);
        if (ev == NULL) {
            refuse_missing(L, "event", v->text);
            return;
        }
        c->ev = ev;
        c->order = NULL;
        object_push_event(L, ev);
        break;
    }
    case ARG_ORDER: {
        const struct order *o = store_order(s, v->text);
        if (o == NULL) {
            refuse_missing(L, "order", v->text);
            return;
        }
        c->ev = NULL;
        c->order = o;
        object_push_order(L, order_id(o));
        break;
    }
    case ARG_CHART:
        if (store_chart(s, v->text) == NULL) {
            refuse_missing(L, "chart", v->text);
        }
        vm_push_span(L, v->text);
        break;
    default: vm_push_span(L, v->text); break;
    }
}

/* The same seat twice is a slip of the caller, not a conflict with somebody. `list` holds n
 * places, which keeps the objects alive while they are compared. */
static void check_twice(lua_State *L, int list, uint32_t n)
{
    const struct object *few[16];
    const struct object **seen = few;
    if (n > 16) {
        seen = lua_newuserdatauv(L, n * sizeof(*seen), 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        seen[i] = lua_touserdata(L, -1);
        lua_pop(L, 1);
        for (uint32_t k = 0; k < i; k++) {
            if (seen[k]->number == seen[i]->number && seen[k]->event == seen[i]->event) {
                struct error e;
                struct span label = place_label(vm_event(L, seen[i]->event), seen[i]->number);
                error_clear(&e);
                (void)error_set(&e, ERR_BADARG, "seat %.*s is given twice", (int)label.len,
                                label.data);
                vm_refuse_seat(L, &e, label);
            }
        }
    }
    lua_settop(L, list);
}

/* Seats: values [i, end) of one argument. [-0, +1]: a list, or the one place. */
static void push_seats(lua_State *L, const struct call *call, size_t i, size_t end,
                       const struct context *c)
{
    const struct arg_def *def = call->values[i].def;
    uint32_t n = 0;
    lua_createtable(L, (int)(end - i), 0);
    int list = lua_gettop(L);
    for (size_t k = i; k < end; k++) {
        const struct call_value *v = &call->values[k];
        places_resolve(L, list, &n, v->text, v->plain, c->ev, c->order);
    }
    if (n > 1) {
        check_twice(L, list, n);
    }
    if (!def->many) {
        if (n != 1) {
            vm_refusef(L, ERR_BADARG, "%s: one seat is expected, not %u", def->name, n);
        }
        lua_rawgeti(L, list, 1);
        lua_remove(L, list);
    }
}

/* The argument's name in Lua: hyphens are underscores there. */
static void push_name(lua_State *L, const char *name)
{
    if (strchr(name, '-') == NULL) {
        lua_pushstring(L, name);
        return;
    }
    luaL_gsub(L, name, "-", "_");
}

/* A repeating argument that was not given at all is an empty list. It is the last one. */
static void push_empty_lists(lua_State *L, const struct call *call)
{
    const struct arg_def *many = NULL;
    for (size_t i = 0; i < call->def->args_count && !call->def->args[i].option; i++) {
        many = call->def->args[i].many ? &call->def->args[i] : NULL;
    }
    for (size_t i = 0; many != NULL && i < call->values_count; i++) {
        if (call->values[i].def == many) {
            many = NULL;
        }
    }
    if (many != NULL) {
        push_name(L, many->name);
        lua_newtable(L);
        lua_rawset(L, -3);
    }
}

/* [-0, +1] the req table. */
static void push_request(lua_State *L)
{
    const struct policy *p = vm_of(L);
    const struct call *call = p->call;
    struct context c = { NULL, NULL };
    lua_createtable(L, 0, (int)call->def->args_count + 3);
    for (size_t i = 0; i < call->values_count;) {
        const struct arg_def *def = call->values[i].def;
        size_t end = i + 1;
        while (end < call->values_count && call->values[end].def == def) {
            end++;
        }
        push_name(L, def->name);
        if (def->type == ARG_SEAT) {
            push_seats(L, call, i, end, &c);
        } else if (def->many) {
            lua_createtable(L, (int)(end - i), 0);
            for (size_t k = i; k < end; k++) {
                push_value(L, &call->values[k], &c);
                lua_rawseti(L, -2, (lua_Integer)(k - i) + 1);
            }
        } else {
            push_value(L, &call->values[i], &c);
        }
        lua_rawset(L, -3);
        i = end;
    }
    push_empty_lists(L, call);
    lua_pushstring(L, call->def->name);
    lua_setfield(L, -2, "command");
}

/* ---- Evaluation --------------------------------------------------------------------------- */

/* [-0, +1] the command's Lua table. */
static void push_command(lua_State *L)
{
    const struct policy *p = vm_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->active.commands);
    if (lua_getfield(L, -1, p->call->def->name) == LUA_TTABLE) {
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->builtin_commands);
    if (lua_getfield(L, -1, p->call->def->name) != LUA_TTABLE) {
        vm_refusef(L, ERR_NOTFOUND, "the policy has no command '%s' any more", p->call->def->name);
    }
}

/* The end of `body`, with the two results of run on top. A continuation: when a pcall of the
 * script has caught an error, Lua has unwound the C stack and goes on here. */
static int body_end(lua_State *L, int status, lua_KContext k)
{
    (void)status;
    (void)k;
    if (lua_isnil(L, -2) && lua_istable(L, -1)) {
        return lua_error(L); /* return nil, {code=, message=} */
    }
    lua_pop(L, 1);
    render_answer(L, -1);
    return 0;
}

static int body(lua_State *L)
{
    struct policy *p = vm_of(L);
    push_command(L);
    if (lua_getfield(L, -1, p->again != NULL ? "again" : "run") != LUA_TFUNCTION) {
        return luaL_error(L, "command '%s' has nothing to run", p->call->def->name);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
    push_request(L);
    lua_callk(L, 2, 2, 0, body_end);
    return body_end(L, LUA_OK, 0);
}

/* The end of `entry`, with the outcome of body on top. */
static int finish(lua_State *L, int status, lua_KContext k)
{
    (void)k;
    struct policy *p = vm_of(L);
    if (status == LUA_OK || status == LUA_YIELD) {
        return 0;
    }
    buf_clear(&p->out->json);
    p->out->order = p->out->order2 = span_make(NULL, 0);
    if (status == LUA_ERRMEM) {
        p->out->code =
            error_set(&p->out->error, ERR_INTERNAL, "ran out of memory: the policy may use %zu MiB",
                      p->sb.memory_max >> 20);
        return 0;
    }
    lua_pushcfunction(L, vm_error_protected);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        p->out->code = error_set(&p->out->error, ERR_INTERNAL, "an error that cannot be shown");
        buf_clear(&p->out->fields);
    }
    if (p->dry_run && p->out->code != 0) {
        rules_put_trace(L, &p->out->fields);
    }
    return 0;
}

static int entry(lua_State *L)
{
    lua_pushcfunction(L, body);
    return finish(L, lua_pcallk(L, 0, 0, 0, 0, finish), 0);
}

static uint64_t budget_for(const struct policy *p, const struct call *call)
{
    uint64_t bytes = call != NULL ? call->argv.len : 0;
    return p->budget + bytes * POLICY_INSTRUCTIONS_PER_BYTE;
}

/* Opens a call: everything of the last one is dead. */
static void begin(struct policy *p, struct store *s, const struct call *call,
                  const struct policy_user *user, uint64_t now_ms, uint64_t index,
                  struct policy_answer *out)
{
    objects_begin(p);
    p->store = s;
    p->call = call;
    p->user = user;
    p->now_ms = now_ms;
    p->index = index;
    p->out = out;
    p->in_call = true;
    p->wrote = false;
    p->read_only = false;
    p->dry_run = false;
    p->judging = 0;
    p->hook_depth = 0;
}

static void end(struct policy *p)
{
    p->in_call = false;
    p->store = NULL;
    p->call = NULL;
    p->user = NULL;
    p->out = NULL;
    p->again = NULL;
}

static int new_trace(lua_State *L)
{
    struct policy *p = vm_of(L);
    lua_newtable(L);
    lua_json_mark_list(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &p->trace);
    return 0;
}

/* An answer may have been used before: its memory is kept. */
static void reset(struct policy_answer *out)
{
    out->code = 0;
    error_clear(&out->error);
    buf_clear(&out->fields);
    buf_clear(&out->json);
    out->order = out->order2 = span_make(NULL, 0);
    out->wrote = false;
}

void policy_evaluate(struct policy *p, struct store *s, const struct call *call,
                     const struct policy_user *user, uint64_t now_ms, uint64_t index,
                     struct policy_answer *out)
{
    reset(out);
    begin(p, s, call, user, now_ms, index, out);
    p->read_only = call->def->read != READ_NONE;
    p->dry_run = call->dry_run;
    size_t mark = p->read_only ? 0 : store_tx_mark(s);
    struct error e;
    error_clear(&e);
    int rc = p->dry_run ? run(p, new_trace, p->budget, &e) : 0;
    if (rc == 0) {
        rc = run(p, entry, budget_for(p, call), &e);
    }
    if (rc != 0) { /* V1 */
        out->error = e;
        out->code = rc;
        error_prefix(&out->error, "command %s", call->def->name);
    } else if (out->code == 0 && (out->json.failed || out->fields.failed)) {
        out->code = error_set(&out->error, ERR_NOMEM, "no memory for the answer");
    }
    if (out->code != 0) {
        buf_clear(&out->json);
        out->order = out->order2 = span_make(NULL, 0);
    }
    if ((out->code != 0 || p->dry_run) && p->wrote) { /* V2 */
        store_tx_undo_to(s, mark);
        p->wrote = false;
    }
    out->wrote = p->wrote;
    end(p);
}

void policy_answer_free(struct policy_answer *a)
{
    buf_free(&a->fields);
    buf_free(&a->json);
}

/* ---- A remembered answer ----------------------------------------------------------------------
 */

/* The orders that the result names, as they are now. */
static void render_result(struct policy *p, struct store *s, const struct result *r, uint64_t index,
                          struct policy_answer *out)
{
    const struct order *a = r->order.len > 0 ? store_order(s, r->order) : NULL;
    const struct order *b = r->order2.len > 0 ? store_order(s, r->order2) : NULL;
    (void)p;
    if (b != NULL && a != NULL) {
        buf_put_str(&out->json, "{\"orders\":[");
        render_order(&out->json, s, a, 0);
        json_put_comma(&out->json);
        render_order(&out->json, s, b, 0);
        buf_put_str(&out->json, "]");
        json_field_int(&out->json, "index", (int64_t)index);
        buf_put_str(&out->json, "}");
    } else if (a != NULL) {
        render_order(&out->json, s, a, index);
    } else {
        buf_put_str(&out->json, "{");
        if (r->order.len > 0) {
            json_field_string(&out->json, "order", r->order);
        }
        json_field_int(&out->json, "index", (int64_t)r->index);
        buf_put_str(&out->json, "}");
    }
}

static int has_again(lua_State *L)
{
    struct policy *p = vm_of(L);
    push_command(L);
    p->found_again = lua_getfield(L, -1, "again") == LUA_TFUNCTION;
    return 0;
}

void policy_answer_again(struct policy *p, struct store *s, const struct call *call,
                         const struct result *r, uint64_t index, struct policy_answer *out)
{
    reset(out);
    if (r->code != 0) {
        out->code = error_set(&out->error, r->code, "%s", error_text(r->code));
        error_hint(&out->error, "this request id was answered before, with this refusal");
        return;
    }
    begin(p, s, call, NULL, store_time_ms(s), index, out);
    p->read_only = true;
    p->again = r;
    p->found_again = false;
    struct error e;
    error_clear(&e);
    bool shown = false;
    if (run(p, has_again, p->budget, &e) == 0 && p->found_again) {
        shown = run(p, entry, budget_for(p, call), &e) == 0 && out->code == 0;
    }
    if (!shown) {
        buf_clear(&out->json);
        buf_clear(&out->fields);
        out->code = 0;
        error_clear(&out->error);
        render_result(p, s, r, index, out);
    }
    out->order = r->order;
    out->order2 = r->order2;
    end(p);
}

/* ---- Expiry -------------------------------------------------------------------------------------
 */

static int expire_body(lua_State *L)
{
    struct policy *p = vm_of(L);
    const struct order *o = store_order(p->store, span_make(p->ids[0], p->id_len));
    if (o != NULL) {
        object_push_order(L, order_id(o));
        rules_hook(L, HOOK_EXPIRE, lua_gettop(L));
    }
    return 0;
}

static int expire_entry(lua_State *L)
{
    lua_pushcfunction(L, expire_body);
    return finish(L, lua_pcallk(L, 0, 0, 0, 0, finish), 0);
}

static bool has_expire_hook(const struct policy *p)
{
    for (size_t i = 0; i < p->active.sets_count; i++) {
        if (p->active.sets[i].hooks[HOOK_EXPIRE] != LUA_NOREF) {
            return true;
        }
    }
    return false;
}

/* Runs the hook for the order in p->ids[0]; its effects stay only when it succeeds. */
static void expire_hook(struct policy *p, struct store *s, uint64_t now_ms, uint64_t index)
{
    struct policy_answer out;
    struct error e;
    error_clear(&e);
    memset(&out, 0, sizeof(out));
    begin(p, s, NULL, NULL, now_ms, index, &out);
    size_t mark = store_tx_mark(s);
    int rc = run(p, expire_entry, p->budget, &e);
    if ((rc != 0 || out.code != 0) && p->wrote) {
        store_tx_undo_to(s, mark);
    }
    end(p);
    policy_answer_free(&out);
}

size_t policy_expire(struct policy *p, struct store *s, uint64_t now_ms, uint64_t index,
                     size_t most, void (*cb)(void *arg, struct span effects), void *arg)
{
    size_t n = 0;
    bool hooked = has_expire_hook(p);
    for (; n < most; n++) {
        const struct order *o = store_next_expiry(s);
        if (o == NULL || o->expires_ms > now_ms) {
            break;
        }
        struct error e;
        error_clear(&e);
        struct span id = order_id(o);
        memcpy(p->ids[0], id.data, id.len);
        p->id_len = id.len;
        struct effect f = { .kind = EFFECT_FINISH,
                            .id = span_make(p->ids[0], p->id_len),
                            .code = ORDER_EXPIRED };
        store_tx_begin(s);
        if (store_do(s, &f, &e) != 0) {
            store_tx_undo(s);
            break; /* out of memory: the next turn tries again */
        }
        if (hooked) {
            expire_hook(p, s, now_ms, index);
        }
        cb(arg, store_tx_effects(s));
        store_tx_end(s);
    }
    return n;
}

/* ---- Loading -----------------------------------------------------------------------------------
 */

/* What a load works on; lives in policy_load's frame, found through the VM. */
struct loading {
    struct span bundle;
    struct active active;
    struct load_defs defs;
    struct error error; /* code 0: fine */
};

static int load_body(lua_State *L)
{
    struct policy *p = vm_of(L);
    struct loading *l = p->loading;
    load_bundle(L, l->bundle, &l->active);
    load_defs(L, p->builtin_commands, &l->defs);
    load_defs(L, l->active.commands, &l->defs);
    return 0;
}

/* With an error value on top. */
static int load_finish(lua_State *L, int status, lua_KContext k)
{
    (void)k;
    struct loading *l = vm_of(L)->loading;
    if (status == LUA_OK || status == LUA_YIELD) {
        return 0;
    }
    const char *why = "an error without a text";
    if (lua_type(L, -1) == LUA_TSTRING) {
        why = lua_tostring(L, -1);
    } else if (lua_type(L, -1) == LUA_TTABLE) {
        lua_pushliteral(L, "message");
        if (lua_rawget(L, -2) == LUA_TSTRING) {
            why = lua_tostring(L, -1);
        }
    }
    (void)error_set(&l->error, ERR_BADARG, "%s", why);
    return 0;
}

static int load_entry(lua_State *L)
{
    lua_pushcfunction(L, load_body);
    return load_finish(L, lua_pcallk(L, 0, 0, 0, 0, load_finish), 0);
}

/* Adds the definitions; on an error those already added stay. They are taken from `defs`
 * in either case. */
static int add_defs(struct policy *p, struct load_defs *defs, struct error *e)
{
    int rc = 0;
    registry_remove_kind(p->registry, COMMAND_TRANSACTION);
    for (size_t i = 0; i < defs->count; i++) {
        if (rc == 0) {
            rc = registry_add(p->registry, defs->def[i], e);
            if (rc == 0) {
                continue;
            }
        }
        command_def_free(defs->def[i]);
    }
    defs->count = 0;
    return rc;
}

/* Puts back the commands of the policy that stays active. */
static int old_defs(lua_State *L)
{
    struct policy *p = vm_of(L);
    load_defs(L, p->builtin_commands, &p->loading->defs);
    load_defs(L, p->active.commands, &p->loading->defs);
    return 0;
}

static void drop_defs(struct load_defs *defs)
{
    for (size_t i = 0; i < defs->count; i++) {
        command_def_free(defs->def[i]);
    }
    defs->count = 0;
}

/* Loads what l->bundle says into l->active and the registry. */
static int load_all(struct policy *p, struct loading *l, struct error *e)
{
    p->loading = l;
    int rc = run(p, load_entry, p->budget, e);
    if (rc == 0 && l->error.code != 0) {
        *e = l->error;
        rc = e->code;
    }
    if (rc == 0) {
        rc = add_defs(p, &l->defs, e);
        if (rc != 0 && p->active.sets_count > 0) {
            struct error ignored;
            error_clear(&ignored);
            if (run(p, old_defs, UINT64_MAX / 2, &ignored) == 0) {
                (void)add_defs(p, &l->defs, &ignored);
            }
        }
    }
    drop_defs(&l->defs);
    if (rc != 0) {
        load_free(p, &l->active);
    }
    p->loading = NULL;
    return rc;
}

int policy_load(struct policy *p, uint32_t version, struct span bundle, struct error *e)
{
    struct loading l;
    memset(&l, 0, sizeof(l));
    l.active.commands = LUA_NOREF;
    l.bundle = bundle;
    int rc = load_all(p, &l, e);
    if (rc == 0) {
        struct active old = p->active;
        p->active = l.active;
        p->active.version = version;
        load_free(p, &old);
    }
    return rc;
}

int vm_try_bundle(lua_State *L, struct span bundle)
{
    struct policy *p = vm_of(L);
    struct active *scratch = &p->tried;
    load_free(p, scratch); /* of a run that was killed half-way */
    load_bundle(L, bundle, scratch);
    load_free(p, scratch);
    return 0;
}

uint32_t policy_version(const struct policy *p) { return p->active.version; }

/* ---- Life
 * ----------------------------------------------------------------------------------------- */

static int open_protected(lua_State *L)
{
    struct policy *p = vm_of(L);
    objects_open(L);
    lua_newtable(L);
    p->user_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    (void)lua_json_open(L, render_object);
    sandbox_lock(L);
    sandbox_set_global(L, "json");
    load_globals(L);
    return load_builtins(L);
}

static int open_entry(lua_State *L)
{
    lua_pushcfunction(L, open_protected);
    return load_finish(L, lua_pcallk(L, 0, 0, 0, 0, load_finish), 0);
}

static int set_up(struct policy *p, struct error *e)
{
    struct loading l;
    memset(&l, 0, sizeof(l));
    p->loading = &l;
    int rc = run(p, open_entry, 100 * POLICY_INSTRUCTIONS, e);
    if (rc == 0 && l.error.code != 0) {
        *e = l.error;
        rc = ERR_INTERNAL;
    }
    p->loading = NULL;
    return rc != 0 ? rc : policy_load(p, 0, span_make(NULL, 0), e);
}

int policy_new(const struct policy_options *o, struct registry *registry, struct policy **out,
               struct error *e)
{
    struct policy *p = mem_zalloc(sizeof(*p));
    if (p == NULL) {
        return error_set(e, ERR_NOMEM, "no memory for the policy VM");
    }
    p->registry = registry;
    p->budget = o->instructions_max != 0 ? o->instructions_max : POLICY_INSTRUCTIONS;
    p->co_ref = LUA_NOREF;
    p->active.commands = p->tried.commands = LUA_NOREF;
    random_init(&p->random, o->seed);
    int rc = 0;
    if (o->lua_dir != NULL) {
        p->lua_dir = mem_strndup(o->lua_dir, strlen(o->lua_dir));
        rc = p->lua_dir != NULL ? 0 : error_set(e, ERR_NOMEM, "no memory for the policy VM");
    }
    if (rc == 0) {
        rc = sandbox_open(&p->sb, o->memory_max != 0 ? o->memory_max : POLICY_MEMORY_BYTES, e);
    }
    if (rc == 0) {
        p->sb.random = vm_random;
        rc = set_up(p, e);
    }
    if (rc != 0) {
        policy_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

void policy_free(struct policy *p)
{
    if (p == NULL) {
        return;
    }
    if (p->sb.L != NULL) {
        load_free(p, &p->active);
        load_free(p, &p->tried);
        sandbox_close(&p->sb);
    }
    buf_free(&p->scratch);
    mem_free(p->lua_dir);
    mem_free(p);
}
