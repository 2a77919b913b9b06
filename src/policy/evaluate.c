/* Evaluation of calls: policy_evaluate(), policy_answer_again(), policy_expire().
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
#include "policy/lua_json.h"
#include "policy/vm.h"

/* ---- Evaluation --------------------------------------------------------------------------- */

void vm_push_command(lua_State *L, const char *name)
{
    const struct policy *p = vm_of(L);
    if (p->active.any_command) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, p->active.commands);
        if (lua_getfield(L, -1, name) == LUA_TTABLE) {
            return;
        }
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->builtin_commands);
    if (lua_getfield(L, -1, name) != LUA_TTABLE) {
        vm_refusef(L, ERR_NOTFOUND, "the policy has no command '%s' any more", name);
    }
}

/* return nil, message[, code], as commands on a node do. [nil, message, code] Never returns. */
static int refuse_text(lua_State *L)
{
    struct span code = lua_type(L, -1) == LUA_TSTRING ? vm_to_span(L, -1) : span_of("DENIED");
    if (error_from_wire(code.data, code.len) == 0) {
        return luaL_error(L, "command '%s' refused with the code '%s', which there is not",
                          vm_of(L)->call->def->name, code.data);
    }
    lua_createtable(L, 0, 2);
    vm_push_span(L, code);
    lua_setfield(L, -2, "code");
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "message");
    return lua_error(L);
}

/* The end of `body`, with the three results of run on top. A continuation: when a pcall of the
 * script has caught an error, Lua has unwound the C stack and goes on here. */
static int body_end(lua_State *L, int status, lua_KContext k)
{
    (void)status;
    (void)k;
    if (lua_isnil(L, -3) && lua_istable(L, -2)) {
        lua_pop(L, 1);
        return lua_error(L); /* return nil, {code=, message=} */
    }
    if (lua_isnil(L, -3) && lua_type(L, -2) == LUA_TSTRING) {
        return refuse_text(L);
    }
    if (lua_isnil(L, -3) && !lua_isnil(L, -2)) { /* meant as a refusal: nothing may stay of it */
        return luaL_error(L, "command '%s' refused with a %s: return nil, message[, code]",
                          vm_of(L)->call->def->name, luaL_typename(L, -2));
    }
    lua_pop(L, 2);
    render_answer(L, -1);
    return 0;
}

static int body(lua_State *L)
{
    struct policy *p = vm_of(L);
    vm_push_command(L, p->call->def->name);
    if (lua_getfield(L, -1, p->again != NULL ? "again" : "run") != LUA_TFUNCTION) {
        return luaL_error(L, "command '%s' has nothing to run", p->call->def->name);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
    vm_push_request(L);
    lua_callk(L, 2, 3, 0, body_end);
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
        p->out->code = error_set(
            &p->out->error, ERR_INTERNAL, "ran out of memory%s%s: the policy may use %zu MiB",
            p->sb.full[0] != 0 ? " at " : "", p->sb.full, p->sb.memory_max >> 20);
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
    p->with_codes = false;
    p->freed.count = 0;
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
    int rc = p->dry_run ? vm_run(p, new_trace, p->budget, &e) : 0;
    if (rc == 0) {
        rc = vm_run(p, entry, budget_for(p, call), &e);
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
    if (p->wrote && p->freed.count > 0) {
        waiting_serve(p);
    }
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
static void render_result(const struct policy *p, struct store *s, const struct result *r,
                          struct policy_answer *out)
{
    uint64_t index = vm_index_shown(p);
    const struct order *a = r->order.len > 0 ? store_order(s, r->order) : NULL;
    const struct order *b = r->order2.len > 0 ? store_order(s, r->order2) : NULL;
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
    vm_push_command(L, p->call->def->name);
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
    /* A result that names orders is about them, whatever the command says otherwise. */
    if (r->order.len == 0 && vm_run(p, has_again, p->budget, &e) == 0 && p->found_again) {
        shown = vm_run(p, entry, budget_for(p, call), &e) == 0 && out->code == 0;
    }
    if (!shown) {
        buf_clear(&out->json);
        buf_clear(&out->fields);
        out->code = 0;
        error_clear(&out->error);
        render_result(p, s, r, out);
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

/* After the expiry of the order in p->ids[0]: the hook, whose effects stay only when it
 * succeeds, and whoever waits for its seats. */
static void after_expiry(struct policy *p, struct store *s, bool hooked, uint64_t now_ms,
                         uint64_t index)
{
    struct policy_answer out;
    struct error e;
    error_clear(&e);
    memset(&out, 0, sizeof(out));
    begin(p, s, NULL, NULL, now_ms, index, &out);
    const struct order *o = store_order(s, span_make(p->ids[0], p->id_len));
    size_t mark = store_tx_mark(s);
    if (o != NULL) {
        waiting_note_order(p, o);
    }
    if (hooked) {
        int rc = vm_run(p, expire_entry, p->budget, &e);
        if (rc != 0 || out.code != 0) {
            p->untold = rc != 0 ? e : out.error;
            error_prefix(&p->untold, "the hook `expire`");
        }
        if ((rc != 0 || out.code != 0) && p->wrote) {
            store_tx_undo_to(s, mark);
        }
    }
    waiting_serve(p);
    end(p);
    policy_answer_free(&out);
}

/* One more transaction for a waiting list that was too long for the last. */
static size_t go_on_serving(struct policy *p, struct store *s, uint64_t now_ms, uint64_t index,
                            policy_expire_cb *cb, void *arg)
{
    struct policy_answer out;
    memset(&out, 0, sizeof(out));
    if (!waiting_find_round(p, s)) {
        return 0;
    }
    store_tx_begin(s);
    begin(p, s, NULL, NULL, now_ms, index, &out);
    waiting_go_on(p);
    end(p);
    policy_answer_free(&out);
    if (store_tx_effects(s).len == 0) {
        store_tx_undo(s); /* out of memory: the next turn tries again */
        return 0;
    }
    (void)cb(arg, POLICY_SERVE, store_tx_effects(s));
    store_tx_end(s);
    return 1;
}

size_t policy_expire(struct policy *p, struct store *s, uint64_t now_ms, uint64_t index,
                     size_t most, policy_expire_cb *cb, void *arg)
{
    size_t n = 0;
    bool hooked = has_expire_hook(p), more = true;
    for (; n < most && more; n++) {
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
        after_expiry(p, s, hooked, now_ms, index);
        more = cb(arg, POLICY_EXPIRE, store_tx_effects(s));
        store_tx_end(s);
    }
    return n + go_on_serving(p, s, now_ms, index, cb, arg);
}
