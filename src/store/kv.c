/* The policy's own data: keys in bytewise order. A node is a version: setting a key
 * swaps nodes, so undo swaps them back. */
#include <string.h>

#include "store/store_impl.h"

static size_t node_bytes(const struct kv_node *n)
{
    return sizeof *n + n->node.key.len + n->value_len;
}

struct kv_node *kv_make(struct store *s, struct span key, struct span value)
{
    struct kv_node *n = slab_alloc(&s->slab, sizeof *n + key.len + value.len);
    if (n == NULL) {
        return NULL;
    }
    memset(n, 0, sizeof *n);
    memcpy(n->text, key.data, key.len);
    memcpy(n->text + key.len, value.data, value.len);
    n->node.key = span_make(n->text, key.len);
    n->value_len = (uint32_t)value.len;
    return n;
}

uint64_t kv_hash(const struct kv_node *n)
{
    uint64_t h = hash64_seed(n->text, n->node.key.len + n->value_len, SEED_KV);
    return hash_mix(h, n->node.key.len);
}

void kv_link(struct store *s, struct kv_node *n, bool there)
{
    if (there) {
        tree_insert(&s->kv, &n->node);
        s->sum += kv_hash(n);
        s->kv_total++;
    } else {
        tree_remove(&s->kv, &n->node);
        s->sum -= kv_hash(n);
        s->kv_total--;
    }
}

void kv_free(struct store *s, struct kv_node *n)
{
    if (n != NULL) {
        slab_free(&s->slab, n, node_bytes(n));
    }
}

static struct span value_of(const struct kv_node *n)
{
    return span_make(n->text + n->node.key.len, n->value_len);
}

bool store_kv(const struct store *s, struct span key, struct span *value)
{
    const struct kv_node *n = (const struct kv_node *)(const void *)tree_find(s->kv, key);
    if (n == NULL) {
        return false;
    }
    *value = value_of(n);
    return true;
}

void store_keys(const struct store *s, struct span prefix, struct span after,
                bool (*cb)(void *arg, const struct kv *kv), void *arg)
{
    bool from_prefix = after.len == 0 || span_order(after, prefix) < 0;
    const struct node *at =
        from_prefix ? tree_after(s->kv, prefix, true) : tree_after(s->kv, after, false);
    while (at != NULL && at->key.len >= prefix.len &&
           (prefix.len == 0 || memcmp(at->key.data, prefix.data, prefix.len) == 0)) {
        struct kv kv = { at->key, value_of((const struct kv_node *)(const void *)at) };
        if (!cb(arg, &kv)) {
            return;
        }
        at = tree_after(s->kv, at->key, false);
    }
}
