/* See histogram.h. */
#include "console/histogram.h"

#include "base/json.h"

#define BAR_CHARS 50

static size_t bucket_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS) {
        return (size_t)ns;
    }
    unsigned top = 63u - (unsigned)__builtin_clzll(ns); /* >= 5 */
    return (size_t)(top - 4) * HISTOGRAM_STEPS +
           (size_t)((ns >> (top - 5)) & (HISTOGRAM_STEPS - 1));
}

static double bucket_us(size_t bucket)
{
    uint64_t power = bucket / HISTOGRAM_STEPS, step = bucket % HISTOGRAM_STEPS;
    uint64_t ns = power == 0 ? step : (HISTOGRAM_STEPS + step) << (power - 1);
    return (double)ns / 1000.0;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->buckets[bucket_of(ns)]++;
    h->count++;
}

double histogram_us(const struct histogram *h, double part)
{
    uint64_t want = (uint64_t)((double)h->count * part), seen = 0;
    for (size_t i = 0; i < sizeof h->buckets / sizeof h->buckets[0]; i++) {
        seen += h->buckets[i];
        if (seen > want) {
            return bucket_us(i);
        }
    }
    return 0;
}

/* How many fall into the n-th power of two. */
static uint64_t power_count(const struct histogram *h, size_t power)
{
    uint64_t n = 0;
    for (size_t i = 0; i < HISTOGRAM_STEPS; i++) {
        n += h->buckets[power * HISTOGRAM_STEPS + i];
    }
    return n;
}

void histogram_print(const struct histogram *h, FILE *out)
{
    uint64_t most = 1;
    for (size_t p = 0; p < 63; p++) {
        most = power_count(h, p) > most ? power_count(h, p) : most;
    }
    for (size_t p = 0; p < 63; p++) {
        uint64_t n = power_count(h, p);
        if (n > 0) {
            int bar = 1 + (int)(n * (BAR_CHARS - 1) / most);
            (void)fprintf(out, "under %10.0f us  %10llu  %.*s\n",
                          bucket_us((p + 1) * HISTOGRAM_STEPS), (unsigned long long)n, bar,
                          "##################################################");
        }
    }
}

void histogram_json(const struct histogram *h, struct buf *out)
{
    buf_put_u8(out, '[');
    for (size_t p = 0; p < 63; p++) {
        uint64_t n = power_count(h, p);
        if (n > 0) {
            json_put_comma(out);
            buf_printf(out, "[%.0f,%llu]", bucket_us((p + 1) * HISTOGRAM_STEPS),
                       (unsigned long long)n);
        }
    }
    buf_put_u8(out, ']');
}
