/* Named objects in bytewise order: a treap (Seidel and Aragon 1996).
 *
 * The rank of a node is the hash of its key, so the shape depends on the keys alone
 * and nothing is stored for balance. Depth is logarithmic for keys not crafted
 * against XXH3. No memory is taken: nodes are embedded in their objects. */
#include <string.h>

#include "store/store_impl.h"

int span_order(struct span a, struct span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n == 0 ? 0 : memcmp(a.data, b.data, n);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

/* Splits t into keys below and above `key`, which is not in t. */
static void split(struct node *t, struct span key, struct node **below, struct node **above)
{
    while (t != NULL) {
        if (span_order(t->key, key) < 0) {
            *below = t;
            below = &t->right;
            t = t->right;
        } else {
            *above = t;
            above = &t->left;
            t = t->left;
        }
    }
    *below = *above = NULL;
}

void tree_insert(struct node **root, struct node *n)
{
    n->rank = hash64(n->key.data, n->key.len);
    while (*root != NULL && (*root)->rank >= n->rank) {
        root = span_order((*root)->key, n->key) < 0 ? &(*root)->right : &(*root)->left;
    }
    struct node *t = *root;
    *root = n;
    split(t, n->key, &n->left, &n->right);
}

void tree_remove(struct node **root, struct node *n)
{
    while (*root != n) {
        ASSERT(*root != NULL);
        root = span_order((*root)->key, n->key) < 0 ? &(*root)->right : &(*root)->left;
    }
    struct node *a = n->left, *b = n->right;
    while (a != NULL && b != NULL) {
        if (a->rank >= b->rank) {
            *root = a;
            root = &a->right;
            a = a->right;
        } else {
            *root = b;
            root = &b->left;
            b = b->left;
        }
    }
    *root = a != NULL ? a : b;
    n->left = n->right = NULL;
}

struct node *tree_find(struct node *root, struct span key)
{
    while (root != NULL) {
        int c = span_order(root->key, key);
        if (c == 0) {
            return root;
        }
        root = c < 0 ? root->right : root->left;
    }
    return NULL;
}

struct node *tree_after(struct node *root, struct span after, bool equal)
{
    struct node *best = NULL;
    while (root != NULL) {
        int c = span_order(root->key, after);
        if (c > 0 || (equal && c == 0)) {
            best = root;
            root = root->left;
        } else {
            root = root->right;
        }
    }
    return best;
}
