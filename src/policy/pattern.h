/* Lua patterns with a bound on their work (pattern.c). */
#ifndef USHER_POLICY_PATTERN_H
#define USHER_POLICY_PATTERN_H

#include <lua.h>
#include <stddef.h>

#define PATTERN_CAPTURES_MAX 32

struct pattern {
    lua_State *L;
    const char *src, *src_end, *pat_end;
    int depth; /* of recursion */
    unsigned steps;
    int level; /* captures, finished or not */
    struct {
        const char *start;
        ptrdiff_t len; /* or one of the marks in pattern.c */
    } capture[PATTERN_CAPTURES_MAX];
};

void pattern_init(struct pattern *m, lua_State *L, const char *src, size_t src_len,
                  const char *pat_end);
/* MAY_RAISE. Matches at `s`: the end of the match, or NULL. Resets the captures. */
const char *pattern_match(struct pattern *m, const char *s, const char *pat);
/* MAY_RAISE. Pushes capture i of a match [s, e); with no captures, 0 is the whole. */
void pattern_push(struct pattern *m, int i, const char *s, const char *e);
/* Pushes all captures (the whole match when there is none, if `whole`); how many. */
int pattern_push_all(struct pattern *m, const char *s, const char *e);

#endif
