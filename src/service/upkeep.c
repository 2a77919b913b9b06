/* Housekeeping that the leader proposes: expiry, dropping what is too old, the first policy
 * of a new cluster; and loading the committed policy on every node.
 *
 * Everything here is a transaction of the batch that is open anyway, before its requests:
 * so a request never meets a hold whose time is over. A timer opens a batch when nobody
 * else does. Work per batch is bounded; what is left makes the next batch due at once.
 *
 * How it fails: a store refusal of a drop is logged and the round skipped; a policy that
 * does not load is logged loudly and the node goes on with the one it has. */
#include <openssl/evp.h>
#include <string.h>

#include "base/assert.h"
#include "service/service_impl.h"

#define LOG_MODULE "service"
#include "base/log.h"

/* Slices of results dropped by one effect, so that no turn is long. */
#define RESULT_SLICE_MS 50
/* How far the upkeep timer looks ahead. */
#define UPKEEP_MAX_MS   60000
/* After something was refused, so that it does not become a loop. */
#define UPKEEP_PAUSE_MS 5000

static const struct span no_args = { "\0", 1 }; /* an encoded argv of no tokens */

static void add(struct service *s, const char *command, struct span effects)
{
    struct entry_tx tx = {
        .user = { "", 0 },
        .command = span_of(command),
        .args = no_args,
        .request = { "", 0 },
        .effects = effects,
    };
    entry_add(&s->entry, &tx);
}

/* One effect as one transaction of the open group. */
static bool do_one(struct service *s, const char *command, const struct effect *f)
{
    struct store *store = cluster_store(s->cluster);
    struct error e;
    error_clear(&e);
    store_tx_begin(store);
    if (store_do(store, f, &e) != 0) {
        store_tx_undo(store);
        log_error("%s was refused: %s", command, e.message);
        s->upkeep_failed = true;
        return false;
    }
    add(s, command, store_tx_effects(store));
    store_tx_end(store);
    return true;
}

static bool expiry_due(const struct store *store, uint64_t time_ms)
{
    const struct order *o = store_next_expiry(store);
    return o != NULL && o->expires_ms <= time_ms;
}

static bool results_due(const struct store *store, uint64_t time_ms)
{
    uint64_t oldest = store_oldest_result_ms(store);
    return store_results_total(store) > RESULTS_MAX ||
           (oldest != UINT64_MAX && oldest + RESULTS_KEEP_MS < time_ms);
}

static bool ended_due(const struct store *store, uint64_t time_ms)
{
    const struct order *o = store_oldest_ended(store);
    return o != NULL && o->changed_ms + ENDED_KEEP_MS < time_ms;
}

static bool first_policy_due(struct service *s, const struct store *store)
{
    struct policy_record rec;
    return s->first_policy.len > 0 && !store_policy(store, 0, &rec) &&
           store_event_total(store) == 0;
}

/* The bundle must compile before it is given to the cluster. */
static bool first_policy_good(struct service *s)
{
    struct policy_options o = { .seed = { 1, 2 } };
    struct registry *r = registry_new();
    struct policy *p = NULL;
    struct error e;
    error_clear(&e);
    int rc = r != NULL ? policy_new(&o, r, &p, &e) : ERR_NOMEM;
    if (rc == 0) {
        rc = policy_load(p, 1, span_make((const char *)s->first_policy.data, s->first_policy.len),
                         &e);
    }
    policy_free(p);
    registry_free(r);
    if (rc != 0) {
        log_error("the profile's policy is not deployed: %s; correct it and deploy it", e.message);
    }
    return rc == 0;
}

static void hex_sha256(const struct buf *b, char out[65])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char digest[32];
    unsigned len = 0;
    int ok = EVP_Digest(b->data, b->len, digest, &len, EVP_sha256(), NULL);
    ASSERT(ok == 1 && len == sizeof digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[64] = 0;
}

static uint32_t put_first_policy(struct service *s)
{
    if (!s->first_checked && !first_policy_good(s)) {
        buf_free(&s->first_policy);
        return 0;
    }
    s->first_checked = true;
    char sha[65];
    hex_sha256(&s->first_policy, sha);
    struct effect f = {
        .kind = EFFECT_POLICY_PUT,
        .version = 1,
        .user = span_of("profile"),
        .sha256 = span_of(sha),
        .text = span_make((const char *)s->first_policy.data, s->first_policy.len),
    };
    return do_one(s, "policy", &f) ? 1 : 0;
}

static uint32_t drop_results(struct service *s, struct store *store, uint64_t time_ms)
{
    uint64_t oldest = store_oldest_result_ms(store);
    uint64_t before =
        store_results_total(store) > RESULTS_MAX ? oldest + 1 : time_ms - RESULTS_KEEP_MS;
    if (before > oldest + RESULT_SLICE_MS) {
        before = oldest + RESULT_SLICE_MS;
    }
    struct effect f = { .kind = EFFECT_RESULT_DROP, .time_ms = before };
    return do_one(s, "drop-results", &f) ? 1 : 0;
}

static uint32_t drop_ended(struct service *s, struct store *store, uint64_t time_ms)
{
    uint32_t n = 0;
    while (n < BATCH_EXPIRE_MAX && ended_due(store, time_ms)) {
        const struct order *o = store_oldest_ended(store);
        struct effect f = { .kind = EFFECT_ORDER_DROP, .id = order_id(o) };
        if (!do_one(s, "drop-order", &f)) {
            break;
        }
        n++;
    }
    return n;
}

/* A hook or a long waiting list makes each expiry slow: what there is no time for is due again at
 * once, in a turn of its own, with heartbeats in between. */
static bool on_expired(void *arg, const char *command, struct span effects)
{
    struct service *s = arg;
    s->counters.expired += strcmp(command, POLICY_EXPIRE) == 0;
    add(s, command, effects);
    s->upkeep_added++;
    return s->env->ops->mono_ns(s->env) < s->upkeep_stop_ns;
}

bool upkeep_unruled(const struct service *s)
{
    return s->policy_refused != 0 && policy_version(s->policy) == 0;
}

bool upkeep_wanted(struct service *s, uint64_t time_ms)
{
    const struct store *store = cluster_store(s->cluster);
    return expiry_due(store, time_ms) || policy_waiting_due(store) || results_due(store, time_ms) ||
           ended_due(store, time_ms) || first_policy_due(s, store);
}

uint32_t upkeep_run(struct service *s, uint64_t index, uint64_t time_ms)
{
    struct store *store = cluster_store(s->cluster);
    s->upkeep_due = false;
    s->upkeep_failed = false;
    s->upkeep_added = 0;
    s->upkeep_stop_ns = s->env->ops->mono_ns(s->env) + BATCH_TIME_NS;
    if (upkeep_unruled(s)) {
        s->upkeep_failed = true; /* who waits would be served by no rules: later */
    } else if (expiry_due(store, time_ms) || policy_waiting_due(store)) {
        s->upkeep_failed =
            policy_expire(s->policy, store, time_ms, index, BATCH_EXPIRE_MAX, on_expired, s) == 0;
        struct error e;
        if (policy_failed(s->policy, &e)) {
            service_complain(s, &e);
        }
    }
    uint32_t n = s->upkeep_added;
    if (results_due(store, time_ms)) {
        n += drop_results(s, store, time_ms);
    }
    n += drop_ended(s, store, time_ms);
    if (first_policy_due(s, store)) {
        n += put_first_policy(s);
    }
    return n;
}

void upkeep_schedule(struct service *s)
{
    if (!service_leads(s) || s->cluster == NULL) {
        s->env->ops->timer_stop(s->upkeep);
        s->upkeep_due = false;
        return;
    }
    const struct store *store = cluster_store(s->cluster);
    uint64_t now = s->env->ops->wall_ms(s->env);
    if (upkeep_wanted(s, now)) {
        s->env->ops->timer_start(s->upkeep, s->upkeep_failed ? UPKEEP_PAUSE_MS : 1);
        return;
    }
    const struct order *o = store_next_expiry(store);
    uint64_t wait = UPKEEP_MAX_MS;
    if (o != NULL && o->expires_ms - now < wait) {
        wait = o->expires_ms - now;
    }
    s->env->ops->timer_start(s->upkeep, wait);
}

/* A policy in flight: nothing is decided until it is committed and loaded, so that every
 * entry behind its own was judged by it (one version active everywhere from one index on). */
bool upkeep_policy_waits(const struct service *s)
{
    struct policy_record rec;
    return store_policy(cluster_store(s->cluster), 0, &rec) &&
           rec.version != policy_version(s->policy) && rec.version != s->policy_refused;
}

/* The file that the profile names is not what is active: say how to deploy it. */
static void tell_difference(struct service *s, const struct policy_record *rec)
{
    char sha[65];
    if (s->first_policy_path == NULL || s->first_policy.len == 0 ||
        s->first_policy_told == rec->version) {
        return;
    }
    s->first_policy_told = rec->version;
    hex_sha256(&s->first_policy, sha);
    if (!span_is(rec->sha256, sha)) {
        log_info("the profile's policy %s differs from the active version %u; to deploy it: "
                 "usher policy deploy %s",
                 s->first_policy_path, (unsigned)rec->version, s->first_policy_path);
    }
}

/* Runs outside a batch. The committed record is what counts: a version that is only in
 * flight may yet be undone. */
void upkeep_policy(struct service *s)
{
    struct store *store = cluster_store(s->cluster);
    struct policy_record rec;
    struct error e;
    error_clear(&e);
    bool again = s->policy_again;
    s->policy_stale = s->policy_again = false;
    if (again) {
        log_error("policy %u has filled its memory: it is loaded anew, what it kept is lost",
                  (unsigned)policy_version(s->policy));
    }
    store_rewind(store);
    if (store_policy(store, 0, &rec) && (again || rec.version != policy_version(s->policy)) &&
        rec.version != s->policy_refused) {
        uint32_t version = rec.version;
        tell_difference(s, &rec);
        if (policy_load(s->policy, version, rec.bundle, &e) != 0) {
            s->policy_refused = version;
            service_note_place(s, &e);
            log_error("policy %u does not load, %s: %s", (unsigned)version,
                      upkeep_unruled(s) ? "nothing is sold until another one is deployed"
                                        : "the one before stays active",
                      e.message);
        } else {
            s->policy_refused = 0;
            s->failed_ms = again ? s->failed_ms : 0; /* the errors were another one's */
            log_info("policy %u is active", (unsigned)version);
        }
    }
    store_replay(store);
    if (policy_version(s->policy) != s->policy_told) {
        s->policy_told = policy_version(s->policy);
        for (unsigned i = 0; i < s->listeners_count; i++) {
            if (s->listeners[i].on->policy != NULL) {
                s->listeners[i].on->policy(s->listeners[i].arg, s->policy_told);
            }
        }
    }
}
