/* Xid events: `xid.1 = 0 79` is event number 1, GPU slot and code; each is delivered once to each set made before it. */
#define _GNU_SOURCE
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>

struct nvmlEventSet_st {
    unsigned long long registered; /* slots, for Xids */
    unsigned long long delivered;  /* number of the last one */
};

struct next_xid {
    const struct nvmlEventSet_st *set;
    unsigned long long number;
    int slot;
    unsigned long long code;
};

static void consider_xid(const char *rest, const char *value, void *context)
{
    struct next_xid *next = context;
    unsigned long long number = strtoull(rest, NULL, 10), code = 0;
    int slot = -1;
    if (sscanf(value, "%d %llu", &slot, &code) != 2 || slot < 0 || slot >= SLOTS)
        return;
    if (number > next->set->delivered && (next->set->registered >> slot & 1) &&
        (next->number == 0 || number < next->number))
        *next = (struct next_xid){next->set, number, slot, code};
}

static void count_xid(const char *rest, const char *value, void *context)
{
    unsigned long long number = strtoull(rest, NULL, 10), *newest = context;
    (void)value;
    if (number > *newest)
        *newest = number;
}

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set)
{
    SYSTEM();
    *set = calloc(1, sizeof **set);
    if (!*set)
        return NVML_ERROR_MEMORY;
    /* What happened before a set was made is not told to it. */
    state_each("xid.", count_xid, &(*set)->delivered);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set)
{
    state_call(__func__, -1, "");
    free(set);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types)
{
    DEVICE(device);
    (void)slot;
    *types = nvmlEventTypeXidCriticalError;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set)
{
    DEVICE(device);
    if (types & nvmlEventTypeXidCriticalError)
        set->registered |= 1ull << slot;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms)
{
    SYSTEM();
    for (unsigned long long waited = 0;; waited += 20) {
        struct next_xid next = {.set = set};
        state_each("xid.", consider_xid, &next);
        if (next.number) {
            set->delivered = next.number;
            *data = (nvmlEventData_t){.device = &devices[next.slot],
                                      .eventType = nvmlEventTypeXidCriticalError,
                                      .eventData = next.code,
                                      .gpuInstanceId = 0xFFFFFFFFu,
                                      .computeInstanceId = 0xFFFFFFFFu};
            return NVML_SUCCESS;
        }
        if (waited >= timeout_ms)
            return NVML_ERROR_TIMEOUT;
        pause_ms(20);
        state_refresh();
    }
}
