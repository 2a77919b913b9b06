/* One effect: encoded first, then done by its kind's function; whatever a refused one
 * has changed by then is taken back, so a failure leaves nothing behind. */
#include "store/store_impl.h"

int no_memory(struct error *e) { return error_set(e, ERR_NOMEM, "out of memory"); }

static int do_emit(struct store *s, const struct effect *f, struct error *e)
{
    (void)s;
    (void)f;
    (void)e;
    return 0;
}

typedef int (*do_function)(struct store *s, const struct effect *f, struct error *e);

static const do_function functions[] = {
    [EFFECT_CHART_PUT] = do_chart_put,
    [EFFECT_EVENT_PUT] = do_event_put,
    [EFFECT_EVENT_SET] = do_event_set,
    [EFFECT_EVENT_REMOVE] = do_event_remove,
    [EFFECT_TAKE] = do_take,
    [EFFECT_CONFIRM] = do_confirm,
    [EFFECT_EXTEND] = do_extend,
    [EFFECT_FINISH] = do_finish,
    [EFFECT_RESEAT] = do_reseat,
    [EFFECT_SPLIT] = do_split,
    [EFFECT_AMEND] = do_amend,
    [EFFECT_BLOCK] = do_block,
    [EFFECT_UNBLOCK] = do_unblock,
    [EFFECT_KV_SET] = do_kv_set,
    [EFFECT_RESULT] = do_result,
    [EFFECT_RESULT_DROP] = do_result_drop,
    [EFFECT_ORDER_DROP] = do_order_drop,
    [EFFECT_FORGET] = do_forget,
    [EFFECT_POLICY_PUT] = do_policy_put,
    [EFFECT_RECORD_SET] = do_record_set,
    [EFFECT_EMIT] = do_emit,
};

int store_do(struct store *s, const struct effect *f, struct error *e)
{
    ASSERT(s->tx_open && !s->rewound);
    struct group *g = group_newest(s);
    size_t start = g->len, bytes = s->effects.len;
    effect_encode(f, &s->effects);
    int rc = s->effects.failed ? no_memory(e) : 0;
    if (rc == 0) {
        s->effect_start = (uint32_t)bytes;
        rc = functions[f->kind](s, f, e);
    }
    if (rc != 0) {
        undo_down_to(s, start);
        s->effects.len = bytes;
        s->effects.failed = false;
    }
    return rc;
}
