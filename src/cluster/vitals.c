/* How a node is, told to all others once a second (tell_ms): `nodes`, `status --cluster`, `doctor`
 * answer from it on any node, with the age of what they say.
 *
 * A frame is a count and so many words, in the order of struct cluster_vitals. A newer program
 * may append words; what this one does not know it ignores, what is missing is 0.
 *
 * Digests can only be compared before the same entry: the newest one known here goes along
 * with its index, and the receiver looks its own up (quarantine.c keeps the last few thousand).
 * This only shows; quarantine decides by itself.
 *
 * With them goes a ping, and who does not answer some in a row does not hear this node, however
 * well it is heard here: a cut one way. */
#define LOG_MODULE "cluster"

#include <string.h>

#include "base/hash.h"
#include "cluster/internal.h"

#define WORDS (sizeof(struct cluster_vitals) / sizeof(uint64_t))

static void fill(struct cluster *c, struct cluster_vitals *v)
{
    struct policy_record policy;
    memset(v, 0, sizeof *v);
    v->role = (uint64_t)status_role(c);
    v->term = c->raft.current_term;
    v->commit = c->commit;
    v->applied = c->applied;
    v->last = log_cache_last(&c->log);
    if (digest_known(c, c->newest_digest, &v->digest)) {
        v->digest_index = c->newest_digest;
    }
    v->snapshot_index = c->log.snapshot_index;
    v->log_bytes = journal_log_bytes(c->journal);
    v->write_us = journal_write_us(c->journal);
    if (v->write_us < disk_append_age_ms(c) * 1000) {
        v->write_us = disk_append_age_ms(c) * 1000; /* it may never end */
    }
    v->free_bytes = journal_free_bytes(c->journal);
    v->uptime_ms = now_ms(c) - c->started_ms;
    v->version = c->o.version;
    v->draining = c->draining;
    v->disk = disk_state(c);
    if (store_policy(c->store, 0, &policy)) {
        v->policy_version = policy.version;
        v->policy_hash = hash64(policy.sha256.data, policy.sha256.len);
    }
    if (c->o.machine != NULL) {
        c->o.machine(c->o.machine_arg, v);
    }
}

void vitals_tick(struct cluster *c)
{
    uint64_t words[WORDS];
    if (!c->raft_on || (c->vitals_sent_ms != 0 && now_ms(c) - c->vitals_sent_ms < c->tell_ms)) {
        return;
    }
    c->vitals_sent_ms = now_ms(c);
    fill(c, &c->vitals);
    memcpy(words, &c->vitals, sizeof words);
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        p->unheard = p->member ? p->unheard + (p->unheard < UNHEARD_MAX) : 0;
        if (!p->member || !p->up) {
            continue;
        }
        struct buf b = BUF_INIT;
        buf_put_u8(&b, WIRE_VITALS);
        buf_put_u8(&b, WORDS);
        for (size_t i = 0; i < WORDS; i++) {
            buf_put_u64(&b, words[i]);
        }
        peer_send(c, p, &b);
        wire_put_words(&b, WIRE_PING, 1, c->env->ops->mono_ns(c->env), 0, 0);
        peer_send(c, p, &b);
    }
}

/* A node whose disk stood still while the cluster was founded, or a leader elected, has answered
 * nothing for seconds and hears well from then on. */
void vitals_new_term(struct cluster *c)
{
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        p->unheard = 0;
    }
}

void vitals_on_ping(struct cluster *c, struct peer *p, uint64_t stamp)
{
    struct buf b = BUF_INIT;
    wire_put_words(&b, WIRE_PONG, 1, stamp, 0, 0);
    peer_send(c, p, &b);
}

void vitals_on_pong(struct cluster *c, struct peer *p, uint64_t stamp)
{
    uint64_t now = c->env->ops->mono_ns(c->env);
    p->rtt_us = stamp <= now ? (now - stamp) / 1000 : 0;
    p->unheard = 0;
}

bool cluster_leader_deaf(struct cluster *c)
{
    const char *leader = status_leader(c);
    const struct peer *p = leader[0] != '\0' ? peer_find(c, leader) : NULL;
    return p != NULL && p->unheard >= UNHEARD_MAX;
}

void vitals_on_frame(struct cluster *c, struct peer *p, struct reader *r)
{
    uint64_t words[WORDS] = { 0 };
    uint8_t n = reader_u8(r);
    for (uint8_t i = 0; i < n; i++) {
        uint64_t word = reader_u64(r);
        if (i < WORDS) {
            words[i] = word;
        }
    }
    if (r->failed || reader_left(r) != 0 || !p->member) {
        return;
    }
    memcpy(&p->vitals, words, sizeof words);
    p->vitals_ms = now_ms(c);
}
