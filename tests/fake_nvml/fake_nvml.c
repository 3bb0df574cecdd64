/*
 * A stand-in for NVIDIA's libnvidia-ml.so.1, for tests only: it speaks the C interface that pynvml calls and answers
 * what a control file says, so a test decides every figure, error, hang and missing function, per GPU and while the
 * program under test runs. The file is named by the environment variable FAKE_NVML_CONTROL and read again whenever it
 * changes; without it there is no driver. One instruction a line, later lines win, '#' begins a comment:
 *
 *   count 8                                  GPUs that the driver sees
 *   driver 550.54.15                         driver version
 *   generation 2                             a new number is a reloaded driver: calls answer UNINITIALIZED until an init
 *   gpu 3 util 87                            a figure (names: see FIGURES); `gpu * ...` is every GPU; `none`: not supported
 *   gpu 0 name NVIDIA A100-SXM4-80GB         likewise `uuid`
 *   gpu 2 process 4711 1073741824            a process that computes: pid and bytes; `gpu 2 process none` removes all
 *   gpu 1 error GetPowerUsage 15             answer this NVML code; `*` is every function of that GPU, code 0 lifts it
 *   gpu 1 hang GetPowerUsage 30              answer after 30 seconds, or as soon as the line is gone
 *   error Init 9                             the same for calls without a GPU: Init, Shutdown, GetCount, EventSetWait,
 *   hang GetCount 5                              SystemGetDriverVersion, SystemGetCudaDriverVersion
 *   missing GetMemoryInfo_v2                 as if this driver were too old to have the function
 *   gpu 0 mig 1                              MIG mode is on: the GPU has no utilisation, and its slices are there
 *   gpu 0 slice 2 slices 3                   slice 2 takes 3 of the GPU's 7 parts; also memory_total, memory_used, gpm_*,
 *                                                name, uuid; `gpu 0 slice 2 none` takes it away
 *   gpu 0 slice 2 profile 9                  the number of its profile, and with `start` the memory slice it begins with
 *   gpu 0 gpm 1                              the GPU has GPM counters; gpm_graphics, gpm_sm, gpm_tensor, gpm_dram in percent
 *   xid 3 79                                 GPU 3 reports Xid 79, once
 *
 * Function names go without their `nvml` or `nvmlDevice`. No figure here was measured on a GPU.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    TIMED_OUT = 10,
    FUNCTION_NOT_FOUND = 13,
    VERSION_MISMATCH = 25,
    UNKNOWN = 999,
};

#define MAX_GPUS 64
#define MAX_RULES 1024
#define MAX_PROCESSES 32
#define MAX_FUNCTIONS 128
#define MAX_SLICES 8
#define MAX_XIDS 256
#define ANY_GPU (-1)
#define NO_GPU (-2)
#define EXPORT __attribute__((visibility("default")))

/* name in the control file, value unless told */
#define FIGURES(X)                  \
    X(util, 0)                      \
    X(memory_util, 0)               \
    X(memory_total, 85899345920)    \
    X(memory_used, 0)               \
    X(memory_reserved, 536870912)   \
    X(power_mw, 100000)             \
    X(power_limit_mw, 700000)       \
    X(energy_mj, -1) /* grows by 400 W */ \
    X(temperature, 40)              \
    X(fan, NONE)                    \
    X(clock_mhz, 1980)              \
    X(encoder, 0)                   \
    X(decoder, 0)                   \
    X(pcie_kb, 0)                   \
    X(pstate, 0)                    \
    X(mig, 0)                       \
    X(mig_max, 7)                   \
    X(slices, 1)                    \
    X(profile, NONE)                \
    X(start, 0)                     \
    X(throttle, 0)                  \
    X(ecc_corrected, 0)             \
    X(ecc_uncorrected, 0)           \
    X(gpm, 0)                       \
    X(gpm_graphics, 0)              \
    X(gpm_sm, 0)                    \
    X(gpm_tensor, 0)                \
    X(gpm_dram, 0)

#define NONE (-1000000)

enum figure {
#define X(name, value) name,
    FIGURES(X)
#undef X
        FIGURE_COUNT
};
static const char *const figure_names[] = {
#define X(name, value) #name,
    FIGURES(X)
#undef X
};
static const long long figure_values[] = {
#define X(name, value) value,
    FIGURES(X)
#undef X
};

struct process {
    unsigned pid;
    unsigned long long bytes;
};
struct slice {
    int there;
    char name[96], uuid[96];
    long long figures[FIGURE_COUNT];
};
struct gpu {
    char name[96], uuid[96];
    struct slice slices[MAX_SLICES];
    long long figures[FIGURE_COUNT];
    struct process processes[MAX_PROCESSES];
    unsigned process_count;
};
struct rule {
    enum { RULE_ERROR, RULE_HANG, RULE_MISSING } kind;
    int gpu;
    char function[64];
    double value;
};
struct control {
    int count, cuda, bad;
    long generation;
    char driver[80];
    struct gpu gpus[MAX_GPUS];
    struct rule rules[MAX_RULES];
    int rule_count;
    struct {
        int gpu;
        unsigned long long xid;
    } xids[MAX_XIDS];
    int xid_count;
};

static struct control control;
static struct stat seen;
static int loaded, inits, xids_told;
static char told_of[512];
static long generation_of_init;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    char function[64];
    unsigned long calls;
} counts[MAX_FUNCTIONS];

/* ---------------------------------------------------------------- the control file */

static void reset(struct control *c)
{
    memset(c, 0, sizeof *c);
    c->cuda = 12040;
    strcpy(c->driver, "550.54.15");
    for (int i = 0; i < MAX_GPUS; i++) {
        strcpy(c->gpus[i].name, "NVIDIA H100 80GB HBM3");
        snprintf(c->gpus[i].uuid, sizeof c->gpus[i].uuid, "GPU-00000000-0000-0000-0000-%012d", i);
        memcpy(c->gpus[i].figures, figure_values, sizeof figure_values);
        for (int k = 0; k < MAX_SLICES; k++) {
            struct slice *s = &c->gpus[i].slices[k];
            strcpy(s->name, "NVIDIA H100 80GB HBM3 MIG 1g.10gb");
            snprintf(s->uuid, sizeof s->uuid, "MIG-00000000-0000-0000-%04d-%012d", i, k);
            memcpy(s->figures, figure_values, sizeof figure_values);
            s->figures[memory_total] = 10737418240;
            s->figures[memory_reserved] = 0;
        }
    }
}

static int add_rule(struct control *c, int kind, int gpu, const char *function, double value)
{
    struct rule *r = &c->rules[c->rule_count];
    if (c->rule_count == MAX_RULES || strlen(function) >= sizeof r->function)
        return 0;
    r->kind = kind;
    r->gpu = gpu;
    strcpy(r->function, function);
    r->value = value;
    c->rule_count++;
    return 1;
}

/* "error F 3" or "hang F 5", of one GPU or of none */
static int parse_rule(struct control *c, int gpu, const char *text)
{
    char kind[16], function[64];
    double value;
    if (sscanf(text, "%15s %63s %lf", kind, function, &value) != 3)
        return 0;
    if (!strcmp(kind, "error"))
        return add_rule(c, RULE_ERROR, gpu, function, value);
    return !strcmp(kind, "hang") && add_rule(c, RULE_HANG, gpu, function, value);
}

static int parse_process(struct gpu *g, const char *text)
{
    struct process p;
    if (!strcmp(text, "none")) {
        g->process_count = 0;
        return 1;
    }
    if (g->process_count == MAX_PROCESSES || sscanf(text, "%u %llu", &p.pid, &p.bytes) != 2)
        return 0;
    g->processes[g->process_count++] = p;
    return 1;
}

static int parse_figure(long long *figures, const char *name, const char *value)
{
    for (int f = 0; f < FIGURE_COUNT; f++)
        if (!strcmp(name, figure_names[f])) {
            char *end;
            figures[f] = !strcmp(value, "none") ? NONE : strtoll(value, &end, 10);
            return !strcmp(value, "none") || (end != value && !*end);
        }
    return 0;
}

/* "2 slices 3", "2 name TEXT", "2 none" */
static int parse_slice(struct gpu *g, const char *text)
{
    char name[32];
    int number, rest = 0;
    if (sscanf(text, "%d %31s %n", &number, name, &rest) != 2 || number < 0 || number >= MAX_SLICES)
        return 0;
    struct slice *s = &g->slices[number];
    s->there = strcmp(name, "none") != 0;
    if (!s->there)
        return 1;
    if (!strcmp(name, "name"))
        return snprintf(s->name, sizeof s->name, "%s", text + rest) < (int)sizeof s->name;
    if (!strcmp(name, "uuid"))
        return snprintf(s->uuid, sizeof s->uuid, "%s", text + rest) < (int)sizeof s->uuid;
    return parse_figure(s->figures, name, text + rest);
}

static int parse_property(struct gpu *g, const char *name, const char *value)
{
    if (!strcmp(name, "slice"))
        return parse_slice(g, value);
    if (!strcmp(name, "name"))
        return snprintf(g->name, sizeof g->name, "%s", value) < (int)sizeof g->name;
    if (!strcmp(name, "uuid"))
        return snprintf(g->uuid, sizeof g->uuid, "%s", value) < (int)sizeof g->uuid;
    if (!strcmp(name, "process"))
        return parse_process(g, value);
    return parse_figure(g->figures, name, value);
}

static int parse_gpu(struct control *c, const char *text)
{
    char which[16], name[32];
    int rest = 0;
    if (sscanf(text, "%15s %31s %n", which, name, &rest) != 2 || !rest)
        return 0;
    int all = !strcmp(which, "*");
    int index = all ? 0 : atoi(which);
    if (index < 0 || index >= MAX_GPUS)
        return 0;
    if (!strcmp(name, "error") || !strcmp(name, "hang")) {
        const char *rule = strstr(text, name);
        return parse_rule(c, all ? ANY_GPU : index, rule);
    }
    for (int i = index; i < (all ? MAX_GPUS : index + 1); i++)
        if (!parse_property(&c->gpus[i], name, text + rest))
            return 0;
    return 1;
}

static int parse_line(struct control *c, char *line)
{
    char function[64];
    line[strcspn(line, "\n")] = 0;
    if (!*line || *line == '#')
        return 1;
    if (!strncmp(line, "gpu ", 4))
        return parse_gpu(c, line + 4);
    if (sscanf(line, "count %d", &c->count) == 1)
        return c->count >= 0 && c->count <= MAX_GPUS;
    if (sscanf(line, "cuda %d", &c->cuda) == 1 || sscanf(line, "generation %ld", &c->generation) == 1)
        return 1;
    if (sscanf(line, "driver %79s", c->driver) == 1)
        return 1;
    if (!strncmp(line, "xid ", 4)) {
        int at = c->xid_count++;
        return at < MAX_XIDS && sscanf(line, "xid %d %llu", &c->xids[at].gpu, &c->xids[at].xid) == 2;
    }
    if (sscanf(line, "missing %63s", function) == 1)
        return add_rule(c, RULE_MISSING, ANY_GPU, function, 0);
    return parse_rule(c, NO_GPU, line);
}

static void parse_file(const char *path)
{
    static struct control fresh;
    char line[512];
    int number = 0;
    FILE *file = fopen(path, "r");
    reset(&fresh);
    if (!file) {
        loaded = 0;
        return;
    }
    if (strcmp(told_of, path)) { /* another test: its events are its own */
        snprintf(told_of, sizeof told_of, "%s", path);
        xids_told = 0;
    }
    while (fgets(line, sizeof line, file)) {
        number++;
        if (!parse_line(&fresh, line)) {
            fprintf(stderr, "fake nvml: %s:%d: cannot read %s\n", path, number, line);
            fresh.bad = 1;
        }
    }
    fclose(file);
    control = fresh;
    loaded = 1;
}

/* Reads the control file again when it is another than last time. */
static void refresh(void)
{
    struct stat now;
    const char *path = getenv("FAKE_NVML_CONTROL");
    if (!path || stat(path, &now)) {
        loaded = 0;
        memset(&seen, 0, sizeof seen);
        return;
    }
    if (loaded && now.st_ino == seen.st_ino && now.st_size == seen.st_size &&
        now.st_mtim.tv_sec == seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec)
        return;
    seen = now;
    parse_file(path);
}

/* ---------------------------------------------------------------- what a call meets first */

static void count_call(const char *function)
{
    for (int i = 0; i < MAX_FUNCTIONS; i++) {
        if (!counts[i].function[0])
            strncpy(counts[i].function, function, sizeof counts[i].function - 1);
        if (!strcmp(counts[i].function, function)) {
            counts[i].calls++;
            return;
        }
    }
}

/* The last rule of this kind for this call, or NULL. */
static const struct rule *find_rule(int kind, const char *function, int gpu)
{
    for (int i = control.rule_count - 1; i >= 0; i--) {
        const struct rule *r = &control.rules[i];
        int same = !strcmp(r->function, function) || (!strcmp(r->function, "*") && gpu >= 0);
        if (r->kind == (unsigned)kind && same && (r->gpu == gpu || (r->gpu == ANY_GPU && gpu >= 0) || kind == RULE_MISSING))
            return r;
    }
    return NULL;
}

static double monotonic_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

/* Sleeps while the control file says that this call hangs; the lock is free meanwhile, as in a real driver. */
static void hang(const char *function, int gpu)
{
    const struct timespec nap = {0, 5000000};
    double start = monotonic_seconds();
    for (;;) {
        const struct rule *r = find_rule(RULE_HANG, function, gpu);
        if (!r || monotonic_seconds() - start >= r->value)
            return;
        pthread_mutex_unlock(&lock);
        nanosleep(&nap, NULL);
        pthread_mutex_lock(&lock);
        refresh();
    }
}

static int answer(const char *function, int gpu)
{
    if (control.bad)
        return UNKNOWN;
    if (find_rule(RULE_MISSING, function, gpu))
        return FUNCTION_NOT_FOUND;
    const struct rule *r = find_rule(RULE_ERROR, function, gpu);
    return r ? (int)r->value : SUCCESS;
}

/* Begins a call: takes the lock, which the caller gives back. Calls other than an init need a driver that was not reloaded. */
static int begin(const char *function, int gpu, int needs_init)
{
    pthread_mutex_lock(&lock);
    refresh();
    count_call(function);
    hang(function, gpu);
    if (needs_init && (!inits || !loaded || control.generation != generation_of_init))
        return UNINITIALIZED;
    return answer(function, gpu);
}

static int end(int code)
{
    pthread_mutex_unlock(&lock);
    return code;
}

/* Device handles are addresses in here: index + 1; those of slices in there: index * MAX_SLICES + number + 1. */
static char handles[MAX_GPUS + 1], slice_handles[MAX_GPUS * MAX_SLICES + 1];

static long slice_at(const void *handle)
{
    long at = (const char *)handle - slice_handles - 1;
    return at >= 0 && at < MAX_GPUS * MAX_SLICES ? at : -1;
}

/* The slice of this handle, NULL for a whole GPU. */
static struct slice *slice_of(const void *handle)
{
    long at = slice_at(handle);
    return at < 0 ? NULL : &control.gpus[at / MAX_SLICES].slices[at % MAX_SLICES];
}

/* The GPU of this handle, or of the slice that it is of. */
static int index_of(const void *handle)
{
    long at = slice_at(handle);
    if (at >= 0)
        return (int)(at / MAX_SLICES);
    at = (const char *)handle - handles - 1;
    return at >= 0 && at < MAX_GPUS ? (int)at : MAX_GPUS;
}

static long long *figures_of(const void *handle)
{
    struct slice *s = slice_of(handle);
    return s ? s->figures : control.gpus[index_of(handle)].figures;
}

static int begin_gpu(const char *function, const void *handle)
{
    int gpu = index_of(handle);
    int code = begin(function, gpu, 1);
    if (code == SUCCESS && (gpu == MAX_GPUS || gpu >= control.count))
        return INVALID_ARGUMENT;
    const struct slice *s = slice_of(handle);
    if (code == SUCCESS && s && (!s->there || control.gpus[gpu].figures[mig] != 1))
        return INVALID_ARGUMENT; /* it was destroyed */
    return code;
}

static int put_text(char *out, unsigned length, const char *text)
{
    if (strlen(text) >= length)
        return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return SUCCESS;
}

/* ---------------------------------------------------------------- calls without a GPU */

EXPORT unsigned long fake_nvml_calls(const char *function)
{
    unsigned long calls = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_FUNCTIONS; i++)
        if (!strcmp(counts[i].function, function))
            calls = counts[i].calls;
    pthread_mutex_unlock(&lock);
    return calls;
}

static int init(void)
{
    int code = begin("Init", NO_GPU, 0);
    if (code == SUCCESS && !loaded)
        code = DRIVER_NOT_LOADED;
    if (code == SUCCESS) {
        inits++;
        generation_of_init = control.generation;
    }
    return end(code);
}

EXPORT int nvmlInit(void) { return init(); }
EXPORT int nvmlInit_v2(void) { return init(); }
EXPORT int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    return init();
}

EXPORT int nvmlShutdown(void)
{
    int code = begin("Shutdown", NO_GPU, 1);
    if (inits > 0)
        inits--;
    return end(code);
}

EXPORT const char *nvmlErrorString(int code)
{
    switch (code) {
    case SUCCESS: return "The operation was successful";
    case UNINITIALIZED: return "Uninitialized";
    case NOT_SUPPORTED: return "Not Supported";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    default: return "Unknown Error";
    }
}

EXPORT int nvmlSystemGetDriverVersion(char *out, unsigned length)
{
    int code = begin("SystemGetDriverVersion", NO_GPU, 1);
    return end(code ? code : put_text(out, length, control.driver));
}

EXPORT int nvmlSystemGetNVMLVersion(char *out, unsigned length)
{
    int code = begin("SystemGetNVMLVersion", NO_GPU, 1);
    return end(code ? code : put_text(out, length, control.driver));
}

static int cuda_version(int *out)
{
    int code = begin("SystemGetCudaDriverVersion", NO_GPU, 1);
    if (!code)
        *out = control.cuda;
    return end(code);
}

EXPORT int nvmlSystemGetCudaDriverVersion(int *out) { return cuda_version(out); }
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *out) { return cuda_version(out); }

EXPORT int nvmlDeviceGetCount_v2(unsigned *out)
{
    int code = begin("GetCount", NO_GPU, 1);
    if (!code)
        *out = (unsigned)control.count;
    return end(code);
}

/* ---------------------------------------------------------------- handles and identity */

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out)
{
    int gpu = index < MAX_GPUS ? (int)index : MAX_GPUS;
    int code = begin("GetHandleByIndex", gpu, 1);
    if (!code && gpu >= control.count)
        code = INVALID_ARGUMENT;
    if (!code)
        *out = handles + 1 + gpu;
    return end(code);
}

EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **out)
{
    int code = begin("GetHandleByUUID", NO_GPU, 1);
    if (code)
        return end(code);
    for (int i = 0; i < control.count; i++)
        if (!strcmp(uuid, control.gpus[i].uuid)) {
            *out = handles + 1 + i;
            return end(SUCCESS);
        }
    return end(NOT_FOUND);
}

EXPORT int nvmlDeviceGetIndex(void *handle, unsigned *out)
{
    int code = begin_gpu("GetIndex", handle);
    if (!code)
        *out = (unsigned)index_of(handle);
    return end(code);
}

EXPORT int nvmlDeviceGetMinorNumber(void *handle, unsigned *out)
{
    int code = begin_gpu("GetMinorNumber", handle);
    if (!code)
        *out = (unsigned)index_of(handle);
    return end(code);
}

EXPORT int nvmlDeviceGetUUID(void *handle, char *out, unsigned length)
{
    int code = begin_gpu("GetUUID", handle);
    const struct slice *s = slice_of(handle);
    return end(code ? code : put_text(out, length, s ? s->uuid : control.gpus[index_of(handle)].uuid));
}

EXPORT int nvmlDeviceGetName(void *handle, char *out, unsigned length)
{
    int code = begin_gpu("GetName", handle);
    const struct slice *s = slice_of(handle);
    return end(code ? code : put_text(out, length, s ? s->name : control.gpus[index_of(handle)].name));
}

EXPORT int nvmlDeviceGetSerial(void *handle, char *out, unsigned length)
{
    int code = begin_gpu("GetSerial", handle);
    return end(code ? code : put_text(out, length, "0000000000000"));
}

struct pci_info {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
};

EXPORT int nvmlDeviceGetPciInfo_v3(void *handle, struct pci_info *out)
{
    int code = begin_gpu("GetPciInfo", handle);
    if (!code) {
        memset(out, 0, sizeof *out);
        out->bus = 1 + (unsigned)index_of(handle);
        out->pci_device_id = 0x233010de;
        snprintf(out->bus_id_legacy, sizeof out->bus_id_legacy, "0000:%02X:00.0", out->bus & 0xff);
        snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus & 0xff);
    }
    return end(code);
}

/* ---------------------------------------------------------------- figures */

/* Leaves the figure's value in *out and returns a code with the lock held. */
static int begin_figure(const char *function, void *handle, enum figure figure, long long *out)
{
    int code = begin_gpu(function, handle);
    if (code)
        return code;
    if (slice_of(handle) && figure != memory_total && figure != slices && figure != profile)
        return NOT_SUPPORTED;
    *out = figures_of(handle)[figure];
    return *out == NONE ? NOT_SUPPORTED : SUCCESS;
}

static int unsigned_figure(const char *function, void *handle, enum figure figure, unsigned *out)
{
    long long value;
    int code = begin_figure(function, handle, figure, &value);
    if (!code)
        *out = (unsigned)value;
    return end(code);
}

EXPORT int nvmlDeviceGetUtilizationRates(void *handle, unsigned out[2])
{
    long long value;
    int code = begin_figure("GetUtilizationRates", handle, util, &value);
    if (!code && figures_of(handle)[mig] == 1)
        code = NOT_SUPPORTED;
    if (!code) {
        out[0] = (unsigned)value;
        out[1] = (unsigned)control.gpus[index_of(handle)].figures[memory_util];
    }
    return end(code);
}

/* total, free, used: what the driver reserves counts as used */
EXPORT int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long out[3])
{
    long long total;
    int code = begin_figure("GetMemoryInfo", handle, memory_total, &total);
    if (!code) {
        const long long *f = figures_of(handle);
        out[0] = (unsigned long long)total;
        out[2] = (unsigned long long)(f[memory_used] + f[memory_reserved]);
        out[1] = out[0] - out[2];
    }
    return end(code);
}

struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

EXPORT int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory_v2 *out)
{
    long long total;
    int code = begin_figure("GetMemoryInfo_v2", handle, memory_total, &total);
    if (!code && out->version != (sizeof *out | 2u << 24))
        code = VERSION_MISMATCH;
    if (!code) {
        const long long *f = figures_of(handle);
        out->total = (unsigned long long)total;
        out->reserved = (unsigned long long)f[memory_reserved];
        out->used = (unsigned long long)f[memory_used];
        out->free = out->total - out->reserved - out->used;
    }
    return end(code);
}

EXPORT int nvmlDeviceGetBAR1MemoryInfo(void *handle, unsigned long long out[3])
{
    int code = begin_gpu("GetBAR1MemoryInfo", handle);
    if (!code) {
        out[0] = out[1] = 137438953472ull;
        out[2] = 0;
    }
    return end(code);
}

EXPORT int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *out)
{
    long long value;
    int code = begin_figure("GetTotalEnergyConsumption", handle, energy_mj, &value);
    if (!code)
        *out = value < 0 ? (unsigned long long)(monotonic_seconds() * 400e3) : (unsigned long long)value;
    return end(code);
}

EXPORT int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *out)
{
    return sensor ? INVALID_ARGUMENT : unsigned_figure("GetTemperature", handle, temperature, out);
}

struct temperature_v1 {
    unsigned version;
    int sensor, temperature;
};

EXPORT int nvmlDeviceGetTemperatureV(void *handle, struct temperature_v1 *out)
{
    if (out->version != (sizeof *out | 1u << 24))
        return VERSION_MISMATCH;
    return unsigned_figure("GetTemperatureV", handle, temperature, (unsigned *)&out->temperature);
}

EXPORT int nvmlDeviceGetPowerUsage(void *handle, unsigned *out)
{
    return unsigned_figure("GetPowerUsage", handle, power_mw, out);
}
EXPORT int nvmlDeviceGetPowerManagementLimit(void *handle, unsigned *out)
{
    return unsigned_figure("GetPowerManagementLimit", handle, power_limit_mw, out);
}
EXPORT int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *out)
{
    return unsigned_figure("GetEnforcedPowerLimit", handle, power_limit_mw, out);
}
EXPORT int nvmlDeviceGetFanSpeed(void *handle, unsigned *out)
{
    return unsigned_figure("GetFanSpeed", handle, fan, out);
}
EXPORT int nvmlDeviceGetPerformanceState(void *handle, unsigned *out)
{
    return unsigned_figure("GetPerformanceState", handle, pstate, out);
}
EXPORT int nvmlDeviceGetClockInfo(void *handle, unsigned type, unsigned *out)
{
    (void)type;
    return unsigned_figure("GetClockInfo", handle, clock_mhz, out);
}
EXPORT int nvmlDeviceGetMaxClockInfo(void *handle, unsigned type, unsigned *out)
{
    (void)type;
    return unsigned_figure("GetMaxClockInfo", handle, clock_mhz, out);
}
EXPORT int nvmlDeviceGetPcieThroughput(void *handle, unsigned counter, unsigned *out)
{
    (void)counter;
    return unsigned_figure("GetPcieThroughput", handle, pcie_kb, out);
}
EXPORT int nvmlDeviceGetEncoderUtilization(void *handle, unsigned *out, unsigned *period_us)
{
    *period_us = 167000;
    return unsigned_figure("GetEncoderUtilization", handle, encoder, out);
}
EXPORT int nvmlDeviceGetDecoderUtilization(void *handle, unsigned *out, unsigned *period_us)
{
    *period_us = 167000;
    return unsigned_figure("GetDecoderUtilization", handle, decoder, out);
}
EXPORT int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor)
{
    int code = begin_gpu("GetCudaComputeCapability", handle);
    *major = 9;
    *minor = 0;
    return end(code);
}
EXPORT int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending)
{
    int code = unsigned_figure("GetMigMode", handle, mig, current);
    *pending = *current;
    return code;
}
EXPORT int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *out)
{
    long long value;
    int code = begin_figure("GetCurrentClocksEventReasons", handle, throttle, &value);
    if (!code)
        *out = (unsigned long long)value;
    return end(code);
}
EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *out)
{
    long long value;
    int code = begin_figure("GetCurrentClocksThrottleReasons", handle, throttle, &value);
    if (!code)
        *out = (unsigned long long)value;
    return end(code);
}
EXPORT int nvmlDeviceGetTotalEccErrors(void *handle, unsigned type, unsigned counter, unsigned long long *out)
{
    long long value;
    int code = begin_figure("GetTotalEccErrors", handle, type ? ecc_uncorrected : ecc_corrected, &value);
    (void)counter;
    if (!code)
        *out = (unsigned long long)value;
    return end(code);
}

/* ---------------------------------------------------------------- MIG slices */

EXPORT int nvmlDeviceIsMigDeviceHandle(void *handle, unsigned *out)
{
    *out = slice_of(handle) != NULL;
    return end(begin_gpu("IsMigDeviceHandle", handle));
}
EXPORT int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *out)
{
    return unsigned_figure("GetMaxMigDeviceCount", handle, mig_max, out);
}
static int handle_of_slice(const char *call, void *handle, unsigned number, void **out)
{
    int code = begin_gpu(call, handle);
    if (!code && number >= MAX_SLICES)
        code = INVALID_ARGUMENT;
    const struct gpu *g = &control.gpus[index_of(handle) % MAX_GPUS];
    if (!code && (g->figures[mig] != 1 || !g->slices[number].there))
        code = NOT_FOUND;
    if (!code)
        *out = slice_handles + 1 + index_of(handle) * MAX_SLICES + number;
    return end(code);
}
EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned number, void **out)
{
    return handle_of_slice("GetMigDeviceHandleByIndex", handle, number, out);
}
EXPORT int nvmlDeviceGetGpuInstanceId(void *handle, unsigned *out)
{
    int code = begin_gpu("GetGpuInstanceId", handle);
    if (!code && !slice_of(handle))
        code = NOT_SUPPORTED;
    if (!code)
        *out = (unsigned)(slice_at(handle) % MAX_SLICES);
    return end(code);
}

struct instance_info {
    void *device;
    unsigned id, profile, start, size;
};

/* A part of a GPU is named by the handle of the slice that is in it. */
EXPORT int nvmlDeviceGetGpuInstanceById(void *handle, unsigned number, void **out)
{
    return handle_of_slice("GetGpuInstanceById", handle, number, out);
}
EXPORT int nvmlGpuInstanceGetInfo(void *instance, struct instance_info *out)
{
    long long value;
    int code = begin_figure("GpuInstanceGetInfo", instance, profile, &value);
    if (!code) {
        const long long *f = figures_of(instance);
        *out = (struct instance_info){handles + 1 + index_of(instance), (unsigned)(slice_at(instance) % MAX_SLICES),
                                      (unsigned)value, (unsigned)f[start], (unsigned)f[slices]};
    }
    return end(code);
}

struct attributes {
    unsigned multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, gpu_slices, compute_slices;
    unsigned long long memory_mb;
};

EXPORT int nvmlDeviceGetAttributes_v2(void *handle, struct attributes *out)
{
    long long value;
    int code = begin_figure("GetAttributes_v2", handle, slices, &value);
    if (!code) {
        memset(out, 0, sizeof *out);
        out->gpu_slices = out->compute_slices = (unsigned)value;
        out->memory_mb = (unsigned long long)figures_of(handle)[memory_total] >> 20;
    }
    return end(code);
}

/* ---------------------------------------------------------------- GPM counters */

struct gpm_sample {
    int gpu, slice; /* slice -1: the whole GPU */
};
struct gpm_metric {
    unsigned id;
    int code;
    double value;
    const char *names[3];
};
struct gpm_question {
    unsigned version, count;
    struct gpm_sample *before, *now;
    struct gpm_metric metrics[];
};

EXPORT int nvmlGpmQueryDeviceSupport(void *handle, unsigned out[2])
{
    long long value;
    int code = begin_figure("GpmQueryDeviceSupport", handle, gpm, &value);
    if (!code)
        out[1] = value == 1;
    return end(code);
}
EXPORT int nvmlGpmSampleAlloc(struct gpm_sample **out)
{
    *out = calloc(1, sizeof **out);
    return *out ? SUCCESS : UNKNOWN;
}
EXPORT int nvmlGpmSampleFree(struct gpm_sample *sample)
{
    free(sample);
    return SUCCESS;
}
static int gpm_take(const char *function, void *handle, int slice, struct gpm_sample *out)
{
    int code = begin_gpu(function, handle);
    if (!code && control.gpus[index_of(handle)].figures[gpm] != 1)
        code = NOT_SUPPORTED;
    if (!code)
        *out = (struct gpm_sample){index_of(handle), slice};
    return end(code);
}
EXPORT int nvmlGpmSampleGet(void *handle, struct gpm_sample *out)
{
    return gpm_take("GpmSampleGet", handle, -1, out);
}
EXPORT int nvmlGpmMigSampleGet(void *handle, unsigned instance, struct gpm_sample *out)
{
    return gpm_take("GpmMigSampleGet", handle, (int)instance, out);
}
EXPORT int nvmlGpmMetricsGet(struct gpm_question *question)
{
    static const int figure_of_metric[] = {[1] = gpm_graphics, [2] = gpm_sm, [5] = gpm_tensor, [10] = gpm_dram};
    int code = begin("GpmMetricsGet", NO_GPU, 1);
    if (!code && question->version != 1)
        code = VERSION_MISMATCH;
    if (!code && question->before->gpu != question->now->gpu)
        code = INVALID_ARGUMENT;
    for (unsigned i = 0; !code && i < question->count; i++) {
        struct gpm_metric *m = &question->metrics[i];
        const struct gpu *g = &control.gpus[question->now->gpu];
        const long long *f = question->now->slice < 0 ? g->figures : g->slices[question->now->slice].figures;
        long long value = m->id <= 10 && figure_of_metric[m->id] ? f[figure_of_metric[m->id]] : NONE;
        m->code = value == NONE ? NOT_SUPPORTED : SUCCESS;
        m->value = (double)value;
    }
    return end(code);
}

/* ---------------------------------------------------------------- events */

static unsigned long long registered; /* a bit for each GPU, of the only set */
static char event_set;

EXPORT int nvmlEventSetCreate(void **out)
{
    int code = begin("EventSetCreate", NO_GPU, 1);
    if (!code) {
        *out = &event_set;
        registered = 0;
    }
    return end(code);
}
EXPORT int nvmlDeviceRegisterEvents(void *handle, unsigned long long types, void *set)
{
    int code = begin_gpu("RegisterEvents", handle);
    if (!code && (types != 8 || set != &event_set))
        code = INVALID_ARGUMENT;
    if (!code)
        registered |= 1ull << index_of(handle);
    return end(code);
}
EXPORT int nvmlEventSetFree(void *set) { return set == &event_set ? SUCCESS : INVALID_ARGUMENT; }

struct event {
    void *handle;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
};

EXPORT int nvmlEventSetWait_v2(void *set, struct event *out, unsigned timeout_ms)
{
    const struct timespec wait = {timeout_ms / 1000, timeout_ms % 1000 * 1000000l};
    int code = begin("EventSetWait", NO_GPU, 1);
    if (!code && set != &event_set)
        code = INVALID_ARGUMENT;
    while (!code && xids_told < control.xid_count) {
        int gpu = control.xids[xids_told].gpu;
        if (registered >> gpu & 1) {
            *out = (struct event){handles + 1 + gpu, 8, control.xids[xids_told].xid, 0xffffffff, 0xffffffff};
            xids_told++;
            return end(SUCCESS);
        }
        xids_told++;
    }
    end(code);
    if (!code)
        nanosleep(&wait, NULL);
    return code ? code : TIMED_OUT;
}

/* ---------------------------------------------------------------- processes */

struct process_v2 {
    unsigned pid;
    unsigned long long bytes;
    unsigned gpu_instance, compute_instance;
};

static int processes(const char *function, void *handle, unsigned *count, struct process_v2 *out)
{
    int code = begin_gpu(function, handle);
    if (code)
        return end(code);
    const struct gpu *g = &control.gpus[index_of(handle)];
    unsigned room = *count;
    *count = g->process_count;
    if (room < g->process_count)
        return end(INSUFFICIENT_SIZE);
    for (unsigned i = 0; i < g->process_count; i++)
        out[i] = (struct process_v2){g->processes[i].pid, g->processes[i].bytes, 0xffffffff, 0xffffffff};
    return end(SUCCESS);
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, struct process_v2 *out)
{
    return processes("GetComputeRunningProcesses", handle, count, out);
}
EXPORT int nvmlDeviceGetComputeRunningProcesses_v2(void *handle, unsigned *count, struct process_v2 *out)
{
    return processes("GetComputeRunningProcesses", handle, count, out);
}
EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, struct process_v2 *out)
{
    (void)out;
    int code = begin_gpu("GetGraphicsRunningProcesses", handle);
    *count = 0;
    return end(code);
}

struct process_sample {
    unsigned pid;
    unsigned long long timestamp_us;
    unsigned sm, memory, encoder, decoder;
};

/* Every process of a GPU is as busy as the GPU. */
EXPORT int nvmlDeviceGetProcessUtilization(void *handle, struct process_sample *out, unsigned *count,
                                           unsigned long long since)
{
    int code = begin_gpu("GetProcessUtilization", handle);
    (void)since;
    if (code)
        return end(code);
    const struct gpu *g = &control.gpus[index_of(handle)];
    unsigned room = out ? *count : 0;
    *count = g->process_count;
    if (!g->process_count)
        return end(NOT_FOUND);
    if (room < g->process_count)
        return end(INSUFFICIENT_SIZE);
    for (unsigned i = 0; i < g->process_count; i++)
        out[i] = (struct process_sample){g->processes[i].pid, (unsigned long long)(monotonic_seconds() * 1e6),
                                         (unsigned)g->figures[util], (unsigned)g->figures[memory_util], 0, 0};
    return end(SUCCESS);
}

struct field_value {
    unsigned field, scope;
    long long timestamp_us, latency_us;
    unsigned type, code;
    unsigned long long value;
};

/* The call works, but this GPU has none of the fields (NVLink counters and the like). */
EXPORT int nvmlDeviceGetFieldValues(void *handle, int count, struct field_value *fields)
{
    int code = begin_gpu("GetFieldValues", handle);
    for (int i = 0; !code && i < count; i++)
        fields[i].code = NOT_SUPPORTED;
    return end(code);
}
