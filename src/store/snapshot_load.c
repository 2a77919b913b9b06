/* Reading a snapshot: bytes in any pieces, block by block, into a fresh store.
 *
 * A block is looked at when all of it is there and its checksum, which continues that
 * of the block before, is right. Simple objects go into the store at once; events,
 * blocked seats and orders are staged, because what they refer to may come later
 * (snapshot_link.c). Nothing is trusted for having a good checksum: every member is
 * checked as store_do would check it, and in the end the digest and all invariants.
 *
 *   1 memory is taken in proportion to bytes that have arrived
 *   2 on any error the loader is freed with everything it made */
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "store/snapshot.h"

int loader_bad(struct error *e, const char *what)
{
    return error_set(e, ERR_CORRUPT, "snapshot: %s", what);
}

struct store_loader *store_load_begin(void)
{
    struct store_loader *l = mem_zalloc(sizeof *l);
    if (l != NULL && (l->store = store_new()) == NULL) {
        mem_free(l);
        l = NULL;
    }
    return l;
}

void store_load_abort(struct store_loader *l)
{
    if (l == NULL) {
        return;
    }
    for (size_t i = 0; i < l->orders_len; i++) {
        order_free(l->store, l->orders[i].order);
    }
    mem_free(l->orders);
    struct buf *bufs[] = { &l->input, &l->blob, &l->blob_head, &l->events, &l->blocked };
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        buf_free(bufs[i]);
    }
    store_free(l->store);
    mem_free(l);
}

/* ---- Items ---------------------------------------------------------------------------- */

static int load_name(struct store_loader *l, struct reader *r, struct error *e)
{
    struct store *s = l->store;
    struct span text = reader_bytes(r);
    if (r->failed || text.len == 0 || text.len > NAME_BYTES_MAX || s->names_len > NAMES_MAX ||
        name_find(s, text) != 0) {
        return loader_bad(e, "malformed name");
    }
    struct name *n = name_make(s, text);
    if (n == NULL) {
        return no_memory(e);
    }
    name_link(s, n, true);
    return 0;
}

static int load_record(struct store_loader *l, struct reader *r, struct error *e)
{
    struct store *s = l->store;
    struct span name = reader_bytes(r), bytes = reader_bytes(r);
    if (r->failed || !text_is_id(name) || bytes.len == 0 || bytes.len > RECORD_BYTES_MAX ||
        s->blobs_total >= RECORDS_MAX || tree_find(s->blobs, name) != NULL) {
        return loader_bad(e, "malformed record");
    }
    struct blob_object *b = blob_make(s, name, bytes);
    if (b == NULL) {
        return no_memory(e);
    }
    blob_link(s, b, true);
    return 0;
}

static int load_kv(struct store_loader *l, struct reader *r, struct error *e)
{
    struct store *s = l->store;
    struct span key = reader_bytes(r), value = reader_bytes(r);
    if (r->failed || key.len == 0 || key.len > KV_KEY_BYTES_MAX || !text_is_utf8(key) ||
        value.len == 0 || value.len > KV_VALUE_BYTES_MAX || tree_find(s->kv, key) != NULL) {
        return loader_bad(e, "malformed key or value");
    }
    struct kv_node *n = kv_make(s, key, value);
    if (n == NULL) {
        return no_memory(e);
    }
    kv_link(s, n, true);
    return 0;
}

static int load_result(struct store_loader *l, struct reader *r, struct error *e)
{
    struct store *s = l->store;
    struct result_entry item;
    if (!item_get_result(r, &item) || result_find(s, item.key) != NULL ||
        results_total(s) >= RESULTS_MAX || result_time(&item) > l->meta.time_ms) {
        return loader_bad(e, "malformed result");
    }
    if (!results_reserve(s)) {
        return no_memory(e);
    }
    *result_push(s) = item;
    results_link(s, true);
    return 0;
}

/* Events and blocked seats are kept as they are, and read again when the charts are there. */
static int stage(struct buf *to, const struct reader *before, const struct reader *after,
                 struct error *e)
{
    buf_put(to, before->p, (size_t)(after->p - before->p));
    return to->failed ? no_memory(e) : 0;
}

static int load_event(struct store_loader *l, struct reader *r, struct error *e)
{
    struct event_item item;
    struct reader before = *r;
    if (!item_get_event(r, &item)) {
        return loader_bad(e, "malformed event");
    }
    return stage(&l->events, &before, r, e);
}

static int load_blocked(struct store_loader *l, struct reader *r, struct error *e)
{
    struct reader before = *r;
    (void)reader_varint(r);
    uint64_t count = reader_varint(r);
    if (count == 0 || count > SNAPSHOT_SEATS_PAGE) {
        return loader_bad(e, "malformed blocked seats");
    }
    for (uint64_t i = 0; i < count * 2; i++) {
        (void)reader_varint(r);
    }
    return r->failed ? loader_bad(e, "malformed blocked seats") : stage(&l->blocked, &before, r, e);
}

static int keep_order(struct store_loader *l, struct order *o, uint64_t serial, struct error *e)
{
    if (l->orders_len == l->orders_cap) {
        size_t cap = l->orders_cap == 0 ? 64 : l->orders_cap * 2;
        struct staged_order *orders = mem_realloc(l->orders, sizeof *orders * cap);
        if (orders == NULL) {
            order_free(l->store, o);
            return no_memory(e);
        }
        l->orders = orders;
        l->orders_cap = cap;
    }
    l->orders[l->orders_len++] = (struct staged_order){ serial, o };
    return 0;
}

static int load_order(struct store_loader *l, struct reader *r, struct error *e)
{
    struct store *s = l->store;
    struct order_item item;
    struct place places[ORDER_SEATS_MAX];
    bool ok = item_get_order(r, &item) && text_is_id(item.id) && text_is_id(item.customer) &&
              item.metadata.len <= JSON_TEXT_BYTES_MAX && item.serial < l->meta.next_serial &&
              item.serial > 0 && item.changed_ms <= l->meta.time_ms;
    for (uint32_t i = 0; ok && i < item.places_count; i++) {
        ok = place_get(r, &places[i]);
    }
    if (!ok) {
        return loader_bad(e, "malformed order");
    }
    struct customer *c = customer_intern(s, item.customer);
    if (c == NULL) {
        return no_memory(e);
    }
    struct order *o = order_make(s, NULL, item.id, c, places, item.places_count, item.metadata);
    customer_unref(s, c);
    if (o == NULL) {
        return no_memory(e);
    }
    o->expires_ms = item.expires_ms;
    o->first_held_ms = item.first_held_ms;
    o->changed_ms = item.changed_ms;
    o->index = item.index;
    o->price = item.price;
    o->policy = item.policy;
    o->status = item.status;
    o->unjudged = item.unjudged;
    o->overbook = item.overbook;
    return keep_order(l, o, item.serial, e);
}

static int load_items(struct store_loader *l, struct reader *r, struct error *e)
{
    int rc = 0;
    while (rc == 0 && reader_left(r) > 0) {
        uint8_t kind = reader_u8(r);
        switch (kind) {
        case ITEM_NAME: rc = load_name(l, r, e); break;
        case ITEM_RECORD: rc = load_record(l, r, e); break;
        case ITEM_EVENT: rc = load_event(l, r, e); break;
        case ITEM_BLOCKED: rc = load_blocked(l, r, e); break;
        case ITEM_ORDER: rc = load_order(l, r, e); break;
        case ITEM_KV: rc = load_kv(l, r, e); break;
        case ITEM_RESULT: rc = load_result(l, r, e); break;
        default: return loader_bad(e, "unknown kind of object");
        }
        l->counts[kind]++;
    }
    return rc;
}

/* ---- Blocks ---------------------------------------------------------------------------- */

static int load_blob(struct store_loader *l, struct reader *r, struct error *e)
{
    uint8_t kind = reader_u8(r);
    l->blob_bytes = reader_u64(r);
    if (r->failed || l->blob_open || (kind != ITEM_CHART && kind != ITEM_POLICY)) {
        return loader_bad(e, "unexpected large object");
    }
    l->blob_kind = (enum item_kind)kind;
    l->blob_open = true;
    buf_clear(&l->blob);
    buf_clear(&l->blob_head);
    buf_put(&l->blob_head, r->p, reader_left(r));
    return l->blob_head.failed ? no_memory(e) : 0;
}

static int load_data(struct store_loader *l, struct reader *r, struct error *e)
{
    size_t len = reader_left(r);
    if (!l->blob_open || len == 0 || len > l->blob_bytes - l->blob.len) {
        return loader_bad(e, "unexpected data");
    }
    buf_put(&l->blob, r->p, len);
    return l->blob.failed ? no_memory(e) : 0;
}

static int blob_if_complete(struct store_loader *l, struct error *e)
{
    if (!l->blob_open || l->blob.len < l->blob_bytes) {
        return 0;
    }
    l->blob_open = false;
    l->counts[l->blob_kind]++;
    return loader_blob(l, e);
}

static int load_meta(struct store_loader *l, struct reader *r, struct error *e)
{
    if (!meta_get(r, &l->meta)) {
        return loader_bad(e, "malformed first block");
    }
    l->meta_seen = true;
    l->store->time_ms = l->meta.time_ms;
    l->store->index = l->meta.index;
    return 0;
}

static int load_counts(struct store_loader *l, struct reader *r, struct error *e)
{
    bool same = !l->blob_open && reader_left(r) == sizeof l->counts;
    for (int i = 0; same && i < ITEM_KINDS; i++) {
        same = reader_u64(r) == l->counts[i];
    }
    if (!same) {
        return loader_bad(e, "objects are missing at the end");
    }
    l->ended = true;
    return 0;
}

static int load_block(struct store_loader *l, uint8_t type, struct reader *r, struct error *e)
{
    if (l->ended || (type == BLOCK_META) == l->meta_seen) {
        return loader_bad(e, "a block out of order");
    }
    int rc;
    switch (type) {
    case BLOCK_META: return load_meta(l, r, e);
    case BLOCK_ITEMS: return load_items(l, r, e);
    case BLOCK_BLOB: rc = load_blob(l, r, e); break;
    case BLOCK_DATA: rc = load_data(l, r, e); break;
    case BLOCK_END: return load_counts(l, r, e);
    default: return loader_bad(e, "unknown kind of block");
    }
    return rc != 0 ? rc : blob_if_complete(l, e);
}

/* One block, or the head, from the front of the input. *used is 0 when more is needed. */
static int take_block(struct store_loader *l, const uint8_t *p, size_t len, size_t *used,
                      struct error *e)
{
    *used = 0;
    struct reader r;
    reader_init(&r, p, len);
    if (!l->head_seen) {
        if (len < SNAPSHOT_HEAD_BYTES) {
            return 0;
        }
        if (memcmp(p, SNAPSHOT_MAGIC, 8) != 0) {
            return loader_bad(e, "this is no snapshot");
        }
        (void)reader_raw(&r, 8);
        if (reader_u32(&r) != SNAPSHOT_VERSION) {
            return loader_bad(e, "written by another version");
        }
        l->head_seen = true;
        l->checksum = snapshot_checksum(p, SNAPSHOT_HEAD_BYTES, 0);
        *used = SNAPSHOT_HEAD_BYTES;
        return 0;
    }
    uint8_t type = reader_u8(&r);
    uint32_t bytes = reader_u32(&r);
    if (!r.failed && bytes > SNAPSHOT_BLOCK_MAX) {
        return loader_bad(e, "a block is too long");
    }
    if (r.failed || reader_left(&r) < (size_t)bytes + 8) {
        return 0;
    }
    const uint8_t *data = reader_raw(&r, bytes);
    l->checksum = snapshot_checksum(p, 5 + (size_t)bytes, l->checksum);
    if (reader_u64(&r) != l->checksum) {
        return loader_bad(e, "checksum mismatch");
    }
    *used = SNAPSHOT_FRAME_BYTES + (size_t)bytes;
    struct reader block;
    reader_init(&block, data, bytes);
    return load_block(l, type, &block, e);
}

int store_load_feed(struct store_loader *l, const void *data, size_t len, struct error *e)
{
    buf_put(&l->input, data, len);
    if (l->input.failed) {
        return no_memory(e);
    }
    size_t at = 0, used;
    int rc;
    do {
        rc = take_block(l, l->input.data + at, l->input.len - at, &used, e);
        at += used;
    } while (rc == 0 && used > 0);
    if (at > 0) {
        memmove(l->input.data, l->input.data + at, l->input.len - at);
        l->input.len -= at;
    }
    return rc;
}

int store_load_end(struct store_loader *l, struct store **out, struct error *e)
{
    int rc = l->ended && l->input.len == 0 ? loader_link(l, e)
                                           : loader_bad(e, "it is cut short, or goes on");
    if (rc == 0) {
        *out = l->store;
        l->store = NULL;
    }
    store_load_abort(l);
    return rc;
}
