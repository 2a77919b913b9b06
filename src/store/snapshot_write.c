/* Writing a snapshot while the store lives on.
 *
 * The snapshot is the committed view at begin. Begin goes back to that view, writes
 * what entries in flight have touched (few objects), and returns; from then on an
 * object that has not been written is as it was at begin, because whoever changes
 * one first comes by here (snapshot_before_*) and its old version is written at once.
 * A cursor walks through everything else, a bounded step at a time.
 *
 *   orders    one bit per slot: written, or not part of the snapshot
 *   events    an epoch in the object for its head, one for its blocked seats; taken
 *             seats and all counts follow from the orders and are not written
 *   kv        an epoch in the node; new nodes are born with it
 *   results   immutable: the ring keeps them until the cursor has passed
 *   names     immutable, numbered: those below the number at begin
 *   charts, policies   immutable: shared by reference
 *   records   few: written at begin
 *
 * Out of memory in the barrier cannot fail the change it belongs to: the snapshot is
 * failed instead, and the next call says so.
 *
 *   1 every object of the view at begin is written exactly once */
#include <string.h>

#include "base/mem.h"
#include "store/snapshot.h"

#define STEPS_MAX    48 /* per call; a step takes 10 to 50 us, with all its memory cold */
#define STEP_ORDERS  64
#define STEP_SLOTS   4096
#define STEP_KV      64
#define STEP_RESULTS 512
#define STEP_NAMES   256
#define STEP_EVENTS  64
#define STEP_NUMBERS 4096

enum phase {
    PHASE_NAMES,
    PHASE_CHARTS,
    PHASE_POLICIES,
    PHASE_EVENTS,
    PHASE_ORDERS,
    PHASE_KV,
    PHASE_RESULTS,
    PHASE_END,
    PHASE_DONE
};

struct snapshot {
    struct store *store;
    struct snapshot_meta meta;
    uint32_t epoch;
    enum phase phase;
    bool failed;
    struct buf items;  /* the block being filled */
    struct buf sealed; /* blocks with their checksums, to be handed out */
    size_t handed;     /* of sealed */
    uint64_t checksum;
    uint64_t counts[ITEM_KINDS];

    uint32_t name, names_end;
    struct chart_cell **charts;
    uint32_t chart, charts_len, charts_cap;
    struct policy_object *policies[POLICIES_KEPT];
    uint32_t policy, policies_len;
    size_t blob_at; /* bytes of the chart or policy written */
    bool blob_open;
    uint32_t event, seat;
    uint64_t *written; /* bits by slot */
    uint32_t slot, slots_end;
    char key[KV_KEY_BYTES_MAX];
    size_t key_len;
    uint64_t result, results_end;
};

/* ---- Blocks -------------------------------------------------------------------------- */

static void put_block(struct snapshot *n, enum block_type type, const void *data, size_t len)
{
    size_t start = n->sealed.len;
    buf_put_u8(&n->sealed, (uint8_t)type);
    buf_put_u32(&n->sealed, (uint32_t)len);
    buf_put(&n->sealed, data, len);
    if (n->sealed.failed) {
        n->failed = true;
        return;
    }
    n->checksum = snapshot_checksum(n->sealed.data + start, n->sealed.len - start, n->checksum);
    buf_put_u64(&n->sealed, n->checksum);
    n->failed |= n->sealed.failed;
}

static void seal_items(struct snapshot *n)
{
    n->failed |= n->items.failed;
    if (n->items.len > 0 && !n->failed) {
        put_block(n, BLOCK_ITEMS, n->items.data, n->items.len);
    }
    buf_clear(&n->items);
}

static void item_done(struct snapshot *n, enum item_kind kind)
{
    n->counts[kind]++;
    if (n->items.len >= SNAPSHOT_BLOCK_BYTES) {
        seal_items(n);
    }
}

/* ---- The barrier ---------------------------------------------------------------------- */

static bool test_bit(const struct snapshot *n, uint32_t slot)
{
    return (n->written[slot / 64] >> (slot % 64) & 1) != 0;
}

static void write_order(struct snapshot *n, uint32_t slot)
{
    const struct record *r = record_at(n->store, slot);
    n->written[slot / 64] |= (uint64_t)1 << (slot % 64);
    if (r->v != NULL) {
        item_put_order(&n->items, r->v, r->serial);
        item_done(n, ITEM_ORDER);
    }
}

void snapshot_before_order(struct store *s, uint32_t slot)
{
    struct snapshot *n = s->snapshot;
    if (n != NULL && slot < n->slots_end && !test_bit(n, slot)) {
        write_order(n, slot);
    }
}

void snapshot_before_event(struct store *s, struct event_object *ev)
{
    struct snapshot *n = s->snapshot;
    if (n != NULL && ev->pub.number < n->meta.next_event && ev->snapshot_head != n->epoch) {
        ev->snapshot_head = n->epoch;
        item_put_event(&n->items, ev);
        item_done(n, ITEM_EVENT);
    }
}

/* True when there are more seats to write. */
static bool write_blocked(struct snapshot *n, struct event_object *ev, uint32_t *seat)
{
    uint32_t seats = chart_seats(ev->pub.chart);
    uint32_t end = seats - *seat > SNAPSHOT_SEATS_PAGE ? *seat + SNAPSHOT_SEATS_PAGE : seats;
    if (item_put_blocked(&n->items, ev, *seat, end)) {
        item_done(n, ITEM_BLOCKED);
    }
    *seat = end;
    if (end == seats) {
        ev->snapshot_blocks = n->epoch;
    }
    return end < seats;
}

void snapshot_before_blocks(struct store *s, struct event_object *ev)
{
    struct snapshot *n = s->snapshot;
    if (n == NULL || ev->pub.number >= n->meta.next_event || ev->snapshot_blocks == n->epoch) {
        return;
    }
    uint32_t seat = ev->pub.number == n->event ? n->seat : 0;
    while (write_blocked(n, ev, &seat)) {
    }
}

void snapshot_before_kv(struct store *s, struct kv_node *old, struct kv_node *fresh)
{
    struct snapshot *n = s->snapshot;
    if (n != NULL && old != NULL && old->epoch != n->epoch) {
        old->epoch = n->epoch;
        item_put_kv(&n->items, old);
        item_done(n, ITEM_KV);
    }
    if (n != NULL && fresh != NULL) {
        fresh->epoch = n->epoch;
    }
}

uint64_t snapshot_results_keep(const struct store *s)
{
    return s->snapshot != NULL ? s->snapshot->result : UINT64_MAX;
}

/* ---- Begin and end ---------------------------------------------------------------------- */

static bool share(struct snapshot *n)
{
    struct store *s = n->store;
    n->charts_cap = (uint32_t)s->charts_total;
    n->charts = slab_alloc(&s->slab, sizeof(void *) * n->charts_cap);
    n->slots_end = s->records.next;
    size_t words = (n->slots_end + 63) / 64;
    n->written = slab_alloc(&s->slab, sizeof(uint64_t) * words);
    if (n->charts == NULL || n->written == NULL) {
        return false;
    }
    memset(n->written, 0, sizeof(uint64_t) * words);
    for (struct node *c = tree_after(s->charts, span_make("", 0), true); c != NULL;
         c = tree_after(s->charts, c->key, false)) {
        n->charts[n->charts_len++] = (struct chart_cell *)(void *)c;
        ((struct chart_cell *)(void *)c)->refs++;
    }
    n->policies_len = s->policies_len;
    for (uint32_t i = 0; i < s->policies_len; i++) {
        n->policies[i] = s->policies[i];
        n->policies[i]->refs++;
    }
    return true;
}

/* In the committed view: what entries in flight have touched cannot wait. */
static void write_touched(struct store *s)
{
    for (unsigned i = 0; i < s->groups_len; i++) {
        const struct group *g = group_nth(s, i);
        for (size_t k = 0; k < g->len; k++) {
            snapshot_barrier(s, &g->records[k]);
        }
    }
}

static void write_records(struct snapshot *n)
{
    for (struct node *b = tree_after(n->store->blobs, span_make("", 0), true); b != NULL;
         b = tree_after(n->store->blobs, b->key, false)) {
        item_put_record(&n->items, (struct blob_object *)(void *)b);
        item_done(n, ITEM_RECORD);
    }
}

static bool begin(struct snapshot *n)
{
    struct store *s = n->store;
    n->epoch = ++s->snapshot_epoch;
    n->meta = (struct snapshot_meta){ s->time_ms, s->index, s->next_serial, store_digest(s),
                                      s->next_event };
    n->names_end = s->names_len;
    n->name = n->slot = n->event = 1;
    n->result = s->results.head;
    n->results_end = s->results.tail;
    if (!share(n)) {
        return false;
    }
    struct buf head = BUF_INIT;
    buf_put(&n->sealed, SNAPSHOT_MAGIC, 8);
    buf_put_u32(&n->sealed, SNAPSHOT_VERSION);
    meta_put(&head, &n->meta);
    n->failed = n->sealed.failed || head.failed;
    if (!n->failed) {
        n->checksum = snapshot_checksum(n->sealed.data, n->sealed.len, 0);
        put_block(n, BLOCK_META, head.data, head.len);
    }
    buf_free(&head);
    s->snapshot = n;
    write_touched(s);
    write_records(n);
    return !n->failed;
}

int store_snapshot_begin(struct store *s, struct snapshot **out, struct error *e)
{
    ASSERT(!s->rewound && !s->tx_open);
    if (s->snapshot != NULL) {
        return error_set(e, ERR_BUSY, "a snapshot is being written already");
    }
    struct snapshot *n = mem_zalloc(sizeof *n);
    if (n == NULL) {
        return no_memory(e);
    }
    n->store = s;
    store_rewind(s);
    bool ok = begin(n);
    store_replay(s);
    if (!ok) {
        store_snapshot_end(n);
        return no_memory(e);
    }
    *out = n;
    return 0;
}

void store_snapshot_end(struct snapshot *n)
{
    struct store *s = n->store;
    s->snapshot = NULL;
    for (uint32_t i = 0; i < n->charts_len; i++) {
        chart_cell_unref(s, n->charts[i]);
    }
    for (uint32_t i = 0; i < n->policies_len; i++) {
        policy_unref(s, n->policies[i]);
    }
    slab_free(&s->slab, n->charts, sizeof(void *) * n->charts_cap);
    slab_free(&s->slab, n->written, sizeof(uint64_t) * ((n->slots_end + 63) / 64));
    buf_free(&n->items);
    buf_free(&n->sealed);
    results_forget(s);
    mem_free(n);
}

uint64_t store_snapshot_index(const struct snapshot *n) { return n->meta.index; }

/* ---- Steps ------------------------------------------------------------------------------ */

static void step_names(struct snapshot *n)
{
    for (int i = 0; i < STEP_NAMES && n->name < n->names_end; i++) {
        item_put_name(&n->items, n->store->names[n->name++]);
        item_done(n, ITEM_NAME);
    }
    if (n->name == n->names_end) {
        n->phase++;
    }
}

/* Writes the next piece of a large object; true when it is complete. */
static bool step_blob(struct snapshot *n, struct span bytes)
{
    size_t left = bytes.len - n->blob_at;
    size_t len = left < SNAPSHOT_BLOCK_BYTES ? left : SNAPSHOT_BLOCK_BYTES;
    if (len > 0) {
        put_block(n, BLOCK_DATA, bytes.data + n->blob_at, len);
    }
    n->blob_at += len;
    n->blob_open = n->blob_at < bytes.len;
    return !n->blob_open;
}

static void open_blob(struct snapshot *n, struct buf *head)
{
    n->failed |= head->failed;
    if (!n->failed) {
        put_block(n, BLOCK_BLOB, head->data, head->len);
    }
    buf_free(head);
    n->blob_at = 0;
    n->blob_open = true;
}

static void step_charts(struct snapshot *n)
{
    if (n->chart == n->charts_len) {
        n->phase++;
        return;
    }
    const struct chart_cell *c = n->charts[n->chart];
    struct span bytes = chart_encoded(c->chart);
    if (!n->blob_open) {
        struct buf head = BUF_INIT;
        buf_put_u8(&head, ITEM_CHART);
        buf_put_u64(&head, bytes.len);
        buf_put_span(&head, c->node.key);
        open_blob(n, &head);
    }
    if (step_blob(n, bytes)) {
        n->chart++;
        n->counts[ITEM_CHART]++;
    }
}

static void step_policies(struct snapshot *n)
{
    if (n->policy == n->policies_len) {
        n->phase++;
        return;
    }
    const struct policy_record *p = &n->policies[n->policy]->pub;
    if (!n->blob_open) {
        struct buf head = BUF_INIT;
        buf_put_u8(&head, ITEM_POLICY);
        buf_put_u64(&head, p->bundle.len);
        buf_put_varint(&head, p->version);
        buf_put_varint(&head, p->time_ms);
        buf_put_span(&head, p->author);
        buf_put_span(&head, p->sha256);
        open_blob(n, &head);
    }
    if (step_blob(n, p->bundle)) {
        n->policy++;
        n->counts[ITEM_POLICY]++;
    }
}

static void step_events(struct snapshot *n)
{
    struct store *s = n->store;
    for (int i = 0, work = 0; i < STEP_NUMBERS && work < STEP_EVENTS; i++) {
        if (n->event >= n->meta.next_event) {
            n->phase++;
            return;
        }
        struct event_object *ev = event_at(s, n->event);
        if (ev != NULL && (ev->snapshot_head != n->epoch || ev->snapshot_blocks != n->epoch)) {
            work++;
            snapshot_before_event(s, ev);
            if (ev->snapshot_blocks != n->epoch && write_blocked(n, ev, &n->seat)) {
                return;
            }
        }
        n->event++;
        n->seat = 0;
    }
}

static void step_orders(struct snapshot *n)
{
    for (int i = 0, work = 0; i < STEP_SLOTS && work < STEP_ORDERS; i++) {
        if (n->slot >= n->slots_end) {
            n->phase++;
            return;
        }
        if (!test_bit(n, n->slot) && record_at(n->store, n->slot)->v != NULL) {
            write_order(n, n->slot);
            work++;
        }
        n->slot++;
    }
}

static void step_kv(struct snapshot *n)
{
    for (int i = 0; i < STEP_KV; i++) {
        struct node *at = tree_after(n->store->kv, span_make(n->key, n->key_len), false);
        if (at == NULL) {
            n->phase++;
            return;
        }
        memcpy(n->key, at->key.data, at->key.len);
        n->key_len = at->key.len;
        snapshot_before_kv(n->store, (struct kv_node *)(void *)at, NULL);
    }
}

static void step_results(struct snapshot *n)
{
    for (int i = 0; i < STEP_RESULTS; i++) {
        if (n->result == n->results_end) {
            n->result = UINT64_MAX;
            n->phase++;
            results_forget(n->store);
            return;
        }
        item_put_result(&n->items, result_at(n->store, n->result++));
        item_done(n, ITEM_RESULT);
    }
}

static void step_end(struct snapshot *n)
{
    struct buf counts = BUF_INIT;
    seal_items(n);
    for (int i = 0; i < ITEM_KINDS; i++) {
        buf_put_u64(&counts, n->counts[i]);
    }
    n->failed |= counts.failed;
    if (!n->failed) {
        put_block(n, BLOCK_END, counts.data, counts.len);
    }
    buf_free(&counts);
    n->phase++;
}

static void step(struct snapshot *n)
{
    switch (n->phase) {
    case PHASE_NAMES: step_names(n); break;
    case PHASE_CHARTS: step_charts(n); break;
    case PHASE_POLICIES: step_policies(n); break;
    case PHASE_EVENTS: step_events(n); break;
    case PHASE_ORDERS: step_orders(n); break;
    case PHASE_KV: step_kv(n); break;
    case PHASE_RESULTS: step_results(n); break;
    case PHASE_END: step_end(n); break;
    case PHASE_DONE: break;
    }
}

int store_snapshot_next(struct snapshot *n, size_t bytes, struct buf *out, bool *done,
                        struct error *e)
{
    ASSERT(!n->store->rewound);
    for (int i = 0;
         i < STEPS_MAX && n->phase != PHASE_DONE && !n->failed && n->sealed.len - n->handed < bytes;
         i++) {
        step(n);
    }
    size_t len = n->sealed.len - n->handed;
    len = len < bytes ? len : bytes;
    buf_put(out, n->sealed.data + n->handed, len);
    if (n->failed || out->failed) {
        return no_memory(e);
    }
    n->handed += len;
    if (n->handed == n->sealed.len) {
        buf_clear(&n->sealed);
        n->handed = 0;
    }
    *done = n->phase == PHASE_DONE && n->sealed.len == 0;
    return 0;
}
