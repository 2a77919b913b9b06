/* The store as a whole: making, freeing, and what is read about all of it. */
#include <string.h>

#include "base/mem.h"
#include "store/store_impl.h"

struct store *store_new(void)
{
    struct store *s = mem_zalloc(sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->next_serial = 1;
    if (!customers_init(s) || !orders_init(s) || !events_init(s) || !names_init(s) ||
        !results_init(s)) {
        store_free(s);
        return NULL;
    }
    return s;
}

static void free_tree(struct store *s, struct node *n, void (*free_node)(struct store *, void *))
{
    /* Rotates left children up instead of recursing. */
    while (n != NULL) {
        struct node *left = n->left;
        if (left != NULL) {
            n->left = left->right;
            left->right = n;
            n = left;
        } else {
            struct node *right = n->right;
            free_node(s, n);
            n = right;
        }
    }
}

static void free_kv(struct store *s, void *n) { kv_free(s, n); }
static void free_blob(struct store *s, void *n) { blob_free(s, n); }
static void free_chart(struct store *s, void *n) { chart_cell_unref(s, n); }

static void free_orders(struct store *s)
{
    for (uint32_t slot = 1; slot < s->records.next; slot++) {
        struct order *o = record_at(s, slot)->v;
        if (o != NULL) {
            struct customer *c = customer_of(o);
            c->first = c->last = 0;
            order_free(s, o);
        }
    }
}

void store_free(struct store *s)
{
    if (s == NULL) {
        return;
    }
    ASSERT(s->snapshot == NULL && !s->rewound);
    while (s->groups_len > (s->group_open ? 1u : 0u)) {
        store_group_commit(s);
    }
    if (s->group_open) {
        store_group_cancel(s);
    }
    free_orders(s);
    for (uint32_t n = s->event_first, next; n != 0; n = next) {
        next = s->events[n]->next;
        event_free(s, s->events[n]);
    }
    free_tree(s, s->kv, free_kv);
    free_tree(s, s->blobs, free_blob);
    free_tree(s, s->charts, free_chart);
    for (uint32_t i = 1; i < s->names_len; i++) {
        name_free(s, s->names[i]);
    }
    for (uint32_t i = 0; i < s->policies_len; i++) {
        policy_unref(s, s->policies[i]);
    }
    results_close(s);
    heap_close(s, &s->held);
    heap_close(s, &s->ended);
    slab_free(&s->slab, s->events, sizeof(void *) * s->events_cap);
    slab_free(&s->slab, s->names, sizeof(void *) * s->names_cap);
    struct table *tables[] = { &s->orders,      &s->pair_table, &s->customer_table,
                               &s->event_table, &s->name_table, &s->result_table };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        table_close(tables[i]);
    }
    struct pool *pools[] = { &s->records, &s->pairs, &s->customers };
    for (size_t i = 0; i < sizeof pools / sizeof pools[0]; i++) {
        if (pools[i]->memory != NULL) {
            pool_close(pools[i]);
        }
    }
    slab_close(&s->slab);
    for (unsigned i = 0; i < s->groups_cap; i++) {
        mem_free(s->groups[i].records);
    }
    mem_free(s->groups);
    buf_free(&s->effects);
    mem_free(s);
}

uint64_t store_time_ms(const struct store *s) { return s->time_ms; }
uint64_t store_index(const struct store *s) { return s->index; }

/* As if this replica alone had applied a block: the digest is true to the state, and
 * the state is not that of the others. */
void store_tamper(struct store *s)
{
    for (uint32_t n = s->event_first; n != 0; n = s->events[n]->next) {
        struct event_object *ev = s->events[n];
        for (uint32_t seat = 0; seat < chart_seats(ev->pub.chart); seat++) {
            enum seat_status status = word_status(ev->body->seats[seat]);
            if (status == SEAT_FREE || status == SEAT_BLOCKED) {
                seat_set(s, ev, seat,
                         status == SEAT_FREE ? (uint32_t)SEAT_BLOCKED << WORD_SHIFT : 0);
                return;
            }
        }
    }
}

void store_stats(const struct store *s, struct store_stats *out)
{
    memset(out, 0, sizeof *out);
    out->events = s->events_total;
    for (uint32_t n = s->event_first; n != 0; n = s->events[n]->next) {
        out->seats += chart_seats(s->events[n]->pub.chart);
    }
    out->orders_live = s->orders_live;
    out->orders_ended = s->orders_ended;
    out->kv = s->kv_total;
    out->results = results_total(s);
    out->charts = s->charts_total;
    out->bytes = s->slab.bytes + sizeof *s + s->effects.cap;
    for (unsigned i = 0; i < s->groups_cap; i++) {
        out->bytes += s->groups[i].cap * sizeof(struct undo);
    }
}
