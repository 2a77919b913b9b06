/* Effects on kv, results, policies, cluster records and names. */
#include <string.h>

#include "base/text.h"
#include "store/do_order.h"

int intern_name(struct store *s, struct span text, uint32_t *id, struct error *e)
{
    *id = 0;
    if (text.len == 0) {
        return 0;
    }
    if (text.len > NAME_BYTES_MAX) {
        return error_set(e, ERR_TOOBIG, "a name or reason of %zu bytes; at most %d", text.len,
                         NAME_BYTES_MAX);
    }
    *id = name_find(s, text);
    if (*id != 0) {
        return 0;
    }
    if (s->names_len > NAMES_MAX) {
        return error_set(e, ERR_LIMIT, "more than %d different ticket types and reasons",
                         NAMES_MAX);
    }
    struct name *n = undo_reserve(s, 1) ? name_make(s, text) : NULL;
    if (n == NULL) {
        return no_memory(e);
    }
    *id = n->id;
    change(s, (struct undo){ .kind = UNDO_NAME, .new.p = n });
    return 0;
}

int do_kv_set(struct store *s, const struct effect *f, struct error *e)
{
    if (f->id.len == 0 || f->id.len > KV_KEY_BYTES_MAX || !text_is_utf8(f->id)) {
        return error_set(e, ERR_BADARG, "a key has 1 to %d bytes of UTF-8", KV_KEY_BYTES_MAX);
    }
    if (f->text.len > KV_VALUE_BYTES_MAX) {
        return error_set(e, ERR_TOOBIG, "a value of %zu bytes; at most %d", f->text.len,
                         KV_VALUE_BYTES_MAX);
    }
    struct kv_node *old = (struct kv_node *)(void *)tree_find(s->kv, f->id), *fresh = NULL;
    if (f->text.len > 0) {
        fresh = kv_make(s, f->id, f->text);
        if (fresh == NULL) {
            return no_memory(e);
        }
    } else if (old == NULL) {
        return 0;
    }
    if (!undo_reserve(s, 1)) {
        kv_free(s, fresh);
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = UNDO_KV, .old.p = old, .new.p = fresh });
    return 0;
}

/* ---- Results ------------------------------------------------------------------------ */

static int drop_results(struct store *s, uint32_t count, struct error *e)
{
    if (count == 0) {
        return 0;
    }
    if (!undo_reserve(s, 1)) {
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = UNDO_RESULT_DROP, .word = count });
    return 0;
}

static void name_order(const struct store *s, struct result_entry *r, int i, struct span id)
{
    r->slot[i] = id.len > 0 ? order_find(s, id) : 0;
    r->serial[i] = r->slot[i] != 0 ? (uint32_t)record_at(s, r->slot[i])->serial : 0;
}

int do_result(struct store *s, const struct effect *f, struct error *e)
{
    if (f->request.len == 0 || f->request.len > ID_BYTES_MAX || f->user.len > ID_BYTES_MAX) {
        return error_set(e, ERR_BADARG, "a request id has 1 to %d bytes", ID_BYTES_MAX);
    }
    uint32_t key[4];
    result_key(f->user, f->request, key);
    if (result_find(s, key) != NULL) {
        return error_set(e, ERR_CONFLICT, "request %.*s has a result already", (int)f->request.len,
                         f->request.data);
    }
    int rc = results_total(s) >= RESULTS_MAX ? drop_results(s, 1, e) : 0;
    if (rc != 0) {
        return rc;
    }
    if (!undo_reserve(s, 1) || !results_reserve(s)) {
        return no_memory(e);
    }
    struct result_entry *r = result_push(s);
    memcpy(r->key, key, sizeof key);
    r->args[0] = (uint32_t)f->args_digest;
    r->args[1] = (uint32_t)(f->args_digest >> 32);
    r->index_low = (uint32_t)s->index;
    r->index_high = (uint16_t)(s->index >> 32);
    r->time_low = (uint32_t)s->time_ms;
    r->time_high = (uint16_t)(s->time_ms >> 32);
    r->code = (uint16_t)f->code;
    name_order(s, r, 0, f->id2);
    name_order(s, r, 1, f->id3);
    change(s, (struct undo){ .kind = UNDO_RESULT });
    return 0;
}

int do_result_drop(struct store *s, const struct effect *f, struct error *e)
{
    uint32_t n = 0;
    uint64_t total = results_total(s);
    while (n < total && n < RESULTS_DROP_MAX &&
           result_time(result_at(s, s->results.head + n)) < f->time_ms) {
        n++;
    }
    return drop_results(s, n, e);
}

/* ---- Policies and cluster records -------------------------------------------------------- */

static bool is_sha256(struct span text)
{
    bool ok = text.len == 64;
    for (size_t i = 0; ok && i < text.len; i++) {
        char c = text.data[i];
        ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    }
    return ok;
}

int do_policy_put(struct store *s, const struct effect *f, struct error *e)
{
    uint32_t newest = s->policies_len > 0 ? s->policies[s->policies_len - 1]->pub.version : 0;
    if (f->version != newest + 1) {
        return error_set(e, ERR_CONFLICT, "the next policy version is %u, not %u", newest + 1,
                         f->version);
    }
    if (f->text.len > REQUEST_BYTES_MAX) {
        return error_set(e, ERR_TOOBIG, "a policy of %zu bytes; at most %d", f->text.len,
                         REQUEST_BYTES_MAX);
    }
    if (f->user.len > ID_BYTES_MAX || !is_sha256(f->sha256)) {
        return error_set(e, ERR_BADARG, "a policy needs its SHA-256 and an author's name");
    }
    struct policy_record pub = { f->version, s->time_ms, f->user, f->sha256, f->text };
    struct policy_object *fallen = s->policies_len == POLICIES_KEPT ? s->policies[0] : NULL;
    struct policy_object *p = undo_reserve(s, 1) ? policy_make(s, &pub) : NULL;
    if (p == NULL) {
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = UNDO_POLICY, .old.p = fallen, .new.p = p });
    return 0;
}

int do_record_set(struct store *s, const struct effect *f, struct error *e)
{
    int rc = check_id(f->id, "the record's name", e);
    if (rc == 0 && f->text.len > RECORD_BYTES_MAX) {
        rc = error_set(e, ERR_TOOBIG, "a record of %zu bytes; at most %d", f->text.len,
                       RECORD_BYTES_MAX);
    }
    struct blob_object *old = (struct blob_object *)(void *)tree_find(s->blobs, f->id);
    if (rc == 0 && old == NULL && f->text.len > 0 && s->blobs_total >= RECORDS_MAX) {
        rc = error_set(e, ERR_LIMIT, "more than %d cluster records", RECORDS_MAX);
    }
    if (rc != 0 || (old == NULL && f->text.len == 0)) {
        return rc;
    }
    struct blob_object *fresh = NULL;
    if (!undo_reserve(s, 1) ||
        (f->text.len > 0 && (fresh = blob_make(s, f->id, f->text)) == NULL)) {
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = UNDO_RECORD, .old.p = old, .new.p = fresh });
    return 0;
}
