/*
 * The few calls of NVIDIA's libcuda.so.1 that scripts/gpu_load.py makes. What they do to the GPU is written to the end of
 * the control file of fake_nvml.c, so both libraries together are one simulated GPU.
 */
#include <stdio.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))
#define FREE_BYTES 80000000000ull

static char context;
static size_t allocated;

static void tell(const char *figure, unsigned long long value)
{
    const char *path = getenv("FAKE_NVML_CONTROL");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file)
        return;
    fprintf(file, "gpu 0 %s %llu\n", figure, value);
    fclose(file);
}

EXPORT int cuInit(unsigned flags) { return flags ? 1 : 0; }
EXPORT int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return ordinal ? 101 : 0;
}
EXPORT int cuDevicePrimaryCtxRetain(void **out, int device)
{
    *out = &context;
    return device;
}
EXPORT int cuCtxSetCurrent(void *given) { return given != &context; }
EXPORT int cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    *free_bytes = FREE_BYTES;
    *total = FREE_BYTES;
    return 0;
}
EXPORT int cuMemAlloc_v2(unsigned long long *out, size_t bytes)
{
    if (bytes > FREE_BYTES)
        return 2; /* out of memory */
    *out = 4096;
    allocated = bytes;
    tell("util", 0);
    tell("memory_used", bytes);
    return 0;
}
EXPORT int cuMemsetD32_v2(unsigned long long pointer, unsigned value, size_t count)
{
    static int told;
    if (pointer != 4096 || value || count * 4 > allocated)
        return 1;
    if (!told++)
        tell("util", 97);
    return 0;
}
EXPORT int cuCtxSynchronize(void) { return 0; }
