/* Text that people type: ids, seat labels, durations, numbers. */
#ifndef USHER_BASE_TEXT_H
#define USHER_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* lua.md 1: 1..ID_BYTES_MAX bytes of valid printable UTF-8 without blanks, control
 * bytes or `: * = / ,`, not starting with '-'. */
bool text_is_id(struct span s);
/* The same with at most SEAT_LABEL_BYTES_MAX bytes. */
bool text_is_label(struct span s);
bool text_is_utf8(struct span s);
/* The longest beginning of s with at most bytes_max bytes that ends between two characters. */
struct span text_beginning(struct span s, size_t bytes_max);
/* "90", "90s", "15m", "2h", "1d", "250ms" -> milliseconds; plain numbers are
 * seconds. False when malformed, negative or over 10 years. */
bool text_duration_ms(struct span s, uint64_t *ms);
bool text_int64(struct span s, int64_t *out); /* decimal, whole text */
/* Edit distance (Damerau-Levenshtein, restricted) for "did you mean"; anything over `most`
 * when it is more than that, as for texts over TEXT_DISTANCE_MAX bytes. */
#define TEXT_DISTANCE_MAX 63
unsigned text_distance(struct span a, struct span b, unsigned most);
/* The nearest of `names` (NULL-ended), or NULL when none is near enough to offer. */
const char *text_nearest(struct span word, const char *const *names);
/* Case-insensitive (ASCII) comparison. */
bool text_ieq(struct span a, struct span b);

#endif
