/* Shared by do_order.c and do_party.c only. */
#ifndef USHER_STORE_DO_ORDER_H
#define USHER_STORE_DO_ORDER_H

#include "store/store_impl.h"

/* An effect's places with ticket types as numbers: the effect's own array, or a copy
 * when types came as text. */
struct party {
    const struct place *places;
    uint32_t count;
    struct place *own;
};
int party_init(struct store *s, const struct effect *f, struct party *p, struct error *e);
void party_free(struct store *s, struct party *p);

/* An order's places, divided by the places an effect names. */
struct parts {
    struct place *kept, *taken;
    uint32_t kept_count, taken_count;
    int64_t taken_price; /* sum over taken places */
    size_t bytes;        /* one block holds both */
};
int parts_init(struct store *s, const struct order *o, const struct effect *f, struct parts *p,
               struct error *e);
void parts_free(struct store *s, struct parts *p);

static inline void stamp(const struct store *s, struct order *o)
{
    o->changed_ms = s->time_ms;
    o->index = s->index;
}

/* EFFECT_RESEAT with a second order (do_exchange.c). */
int do_exchange(struct store *s, const struct effect *f, struct error *e);

int no_order(struct span id, struct error *e);
int check_id(struct span id, const char *what, struct error *e);
int check_json(struct span text, const char *what, struct error *e);
int check_price(int64_t price, struct error *e);
int check_fresh(const struct store *s, struct span id, struct error *e);
/* The events of an order's places: they exist, take sales if need be, and share a currency. */
int check_events(const struct store *s, const struct place *places, uint32_t count,
                 bool must_be_open, struct error *e);
int check_until(const struct store *s, uint64_t until_ms, struct error *e);
int check_live(const struct store *s, const struct order *o, struct error *e);

#endif
