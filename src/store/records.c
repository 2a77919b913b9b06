/* Policies (the last POLICIES_KEPT) and cluster records: few, read rarely. */
#include <string.h>

#include "store/store_impl.h"

struct policy_object *policy_make(struct store *s, const struct policy_record *p)
{
    size_t bytes = sizeof(struct policy_object) + p->author.len + p->sha256.len + p->bundle.len;
    struct policy_object *o = slab_alloc(&s->slab, bytes);
    if (o == NULL) {
        return NULL;
    }
    memset(o, 0, sizeof *o);
    o->refs = 1;
    o->pub = *p;
    struct span *parts[] = { &o->pub.author, &o->pub.sha256, &o->pub.bundle };
    char *at = o->text;
    uint64_t h = hash_mix(p->version + ((uint64_t)SEED_POLICY << 56), p->time_ms);
    for (size_t i = 0; i < 3; i++) {
        if (parts[i]->len > 0) {
            memcpy(at, parts[i]->data, parts[i]->len);
        }
        parts[i]->data = at;
        at += parts[i]->len;
        h = hash_mix(h, hash64(parts[i]->data, parts[i]->len));
    }
    o->hash = h;
    return o;
}

void policy_unref(struct store *s, struct policy_object *p)
{
    if (p != NULL && --p->refs == 0) {
        slab_free(&s->slab, p,
                  sizeof *p + p->pub.author.len + p->pub.sha256.len + p->pub.bundle.len);
    }
}

/* fallen: the oldest, which makes room, or NULL. */
void policy_push(struct store *s, struct policy_object *p, struct policy_object *fallen)
{
    if (fallen != NULL) {
        ASSERT(s->policies[0] == fallen);
        s->policies_len--;
        memmove(s->policies, s->policies + 1, sizeof(void *) * s->policies_len);
        s->sum -= fallen->hash;
    }
    ASSERT(s->policies_len < POLICIES_KEPT);
    s->policies[s->policies_len++] = p;
    s->sum += p->hash;
}

void policy_pop(struct store *s, struct policy_object *p, struct policy_object *fallen)
{
    s->policies_len--;
    s->sum -= p->hash;
    if (fallen != NULL) {
        memmove(s->policies + 1, s->policies, sizeof(void *) * s->policies_len);
        s->policies[0] = fallen;
        s->policies_len++;
        s->sum += fallen->hash;
    }
}

bool store_policy(const struct store *s, uint32_t version, struct policy_record *out)
{
    for (uint32_t i = s->policies_len; i-- > 0;) {
        if (version == 0 || s->policies[i]->pub.version == version) {
            *out = s->policies[i]->pub;
            return true;
        }
    }
    return false;
}

/* ---- Cluster records ------------------------------------------------------------------ */

struct blob_object *blob_make(struct store *s, struct span name, struct span bytes)
{
    struct blob_object *b = slab_alloc(&s->slab, sizeof *b + name.len + bytes.len);
    if (b == NULL) {
        return NULL;
    }
    memset(b, 0, sizeof *b);
    memcpy(b->text, name.data, name.len);
    memcpy(b->text + name.len, bytes.data, bytes.len);
    b->node.key = span_make(b->text, name.len);
    b->len = (uint32_t)bytes.len;
    return b;
}

uint64_t blob_hash(const struct blob_object *b)
{
    return hash_mix(hash64_seed(b->text, b->node.key.len + b->len, SEED_RECORD), b->len);
}

void blob_link(struct store *s, struct blob_object *b, bool there)
{
    if (there) {
        tree_insert(&s->blobs, &b->node);
        s->blobs_total++;
        s->sum += blob_hash(b);
    } else {
        tree_remove(&s->blobs, &b->node);
        s->blobs_total--;
        s->sum -= blob_hash(b);
    }
}

void blob_free(struct store *s, struct blob_object *b)
{
    if (b != NULL) {
        slab_free(&s->slab, b, sizeof *b + b->node.key.len + b->len);
    }
}

struct span store_record(const struct store *s, struct span name)
{
    const struct blob_object *b =
        (const struct blob_object *)(const void *)tree_find(s->blobs, name);
    return b != NULL ? span_make(b->text + name.len, b->len) : span_make("", 0);
}
