/* What every fuzzer asks of the sanitizer: short allocation stacks and a small quarantine. With
 * the defaults most of a run's time went into remembering who allocated what; two frames are
 * enough to find the place, and a finding can be run again with longer ones. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "malloc_context_size=2:quarantine_size_mb=8:thread_local_quarantine_size_kb=64";
}
