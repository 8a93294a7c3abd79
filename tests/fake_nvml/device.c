/* Static facts and readings of one GPU, one call each. */
#define _GNU_SOURCE
#include "calls.h"

#include <stdio.h>
#include <string.h>

TEXT_GETTER(nvmlDeviceGetUUID, "uuid")
TEXT_GETTER(nvmlDeviceGetName, "name")
TEXT_GETTER(nvmlDeviceGetSerial, "serial")
TEXT_GETTER(nvmlDeviceGetBoardPartNumber, "board_part_number")
TEXT_GETTER(nvmlDeviceGetVbiosVersion, "vbios")
NUMBER_GETTER(nvmlDeviceGetMinorNumber, unsigned int, "minor")
NUMBER_GETTER(nvmlDeviceGetPersistenceMode, nvmlEnableState_t, "persistence_mode")
NUMBER_GETTER(nvmlDeviceGetVirtualizationMode, nvmlGpuVirtualizationMode_t, "virtualization_mode")
NUMBER_GETTER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned int, "pcie.generation_max")
NUMBER_GETTER(nvmlDeviceGetMaxPcieLinkWidth, unsigned int, "pcie.width_max")
NUMBER_GETTER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned int, "power_limit.default")
NUMBER_GETTER(nvmlDeviceGetPowerManagementLimit, unsigned int, "power_limit.set")
#ifndef FLAVOUR_OLD
NUMBER_GETTER(nvmlDeviceGetArchitecture, nvmlDeviceArchitecture_t, "architecture")
NUMBER_GETTER(nvmlDeviceGetNumGpuCores, unsigned int, "cores")
NUMBER_GETTER(nvmlDeviceGetMemoryBusWidth, unsigned int, "memory.bus_width")
NUMBER_GETTER(nvmlDeviceGetGpuMaxPcieLinkGeneration, unsigned int, "pcie.generation_gpu_max")
NUMBER_GETTER(nvmlDeviceGetNumFans, unsigned int, "fans")
#endif

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    char value[64];
    nvmlReturn_t rc;
    DEVICE(device);
    memset(pci, 0, sizeof *pci);
    if ((rc = text(value, sizeof value, slot, "pci")))
        return rc;
    sscanf(value, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->busId, sizeof pci->busId, "%08X:%02X:%02X.0", pci->domain, pci->bus, pci->device);
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%04X:%02X:%02X.0", pci->domain & 0xFFFF,
             pci->bus & 0xFF, pci->device & 0xFF);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
    char value[32];
    nvmlReturn_t rc;
    DEVICE(device);
    if ((rc = text(value, sizeof value, slot, "compute_capability")))
        return rc;
    return sscanf(value, "%d.%d", major, minor) == 2 ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device, unsigned int *low,
                                                          unsigned int *high)
{
    DEVICE(device);
    return pair(low, high, slot, "power_limit.min", "power_limit.max");
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *current, nvmlEnableState_t *pending)
{
    DEVICE(device);
    return pair((unsigned int *)current, (unsigned int *)pending, slot, "ecc.mode", "ecc.mode_pending");
}

static const char *const clock_names[] = {"graphics", "sm", "memory", "video"};

static nvmlReturn_t clock_of(int slot, nvmlClockType_t type, unsigned int *clock, const char *prefix)
{
    char name[64];
    if ((unsigned int)type > NVML_CLOCK_VIDEO)
        return NVML_ERROR_INVALID_ARGUMENT;
    snprintf(name, sizeof name, "%s.%s", prefix, clock_names[type]);
    return narrow(clock, slot, name);
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *clock)
{
    DEVICE(device);
    return clock_of(slot, type, clock, "clock_max");
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *clock)
{
    DEVICE(device);
    return clock_of(slot, type, clock, "clock");
}

nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t device, nvmlTemperatureThresholds_t type,
                                               unsigned int *temp)
{
    static const char *const names[] = {"threshold.shutdown", "threshold.slowdown", "threshold.memory_max",
                                        "threshold.gpu_max"};
    DEVICE(device);
    if ((unsigned int)type >= 4)
        return NVML_ERROR_NOT_SUPPORTED;
    return narrow(temp, slot, names[type]);
}

NUMBER_GETTER(nvmlDeviceGetPowerUsage, unsigned int, "power")
NUMBER_GETTER(nvmlDeviceGetEnforcedPowerLimit, unsigned int, "power_limit.enforced")
NUMBER_GETTER(nvmlDeviceGetFanSpeed, unsigned int, "fan.0")
NUMBER_GETTER(nvmlDeviceGetPerformanceState, nvmlPstates_t, "pstate")
NUMBER_GETTER(nvmlDeviceGetPowerState, nvmlPstates_t, "pstate")
NUMBER_GETTER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned int, "pcie.generation")
NUMBER_GETTER(nvmlDeviceGetCurrPcieLinkWidth, unsigned int, "pcie.width")
NUMBER_GETTER(nvmlDeviceGetPcieReplayCounter, unsigned int, "pcie.replay")
NUMBER_GETTER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, "throttle")
#ifndef FLAVOUR_OLD
NUMBER_GETTER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, "energy")
NUMBER_GETTER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, "throttle")
#endif

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned int *temp)
{
    DEVICE(device);
    return sensor == NVML_TEMPERATURE_GPU ? narrow(temp, slot, "temp") : NVML_ERROR_NOT_SUPPORTED;
}

#ifndef FLAVOUR_OLD
nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t *temperature)
{
    DEVICE(device);
    if (temperature->version != nvmlTemperature_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    return narrow((unsigned int *)&temperature->temperature, slot, "temp");
}

nvmlReturn_t nvmlDeviceGetAddressingMode(nvmlDevice_t device, nvmlDeviceAddressingMode_t *mode)
{
    DEVICE(device);
    if (mode->version != nvmlDeviceAddressingMode_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    return narrow(&mode->value, slot, "addressing_mode");
}

nvmlReturn_t nvmlDeviceGetMarginTemperature(nvmlDevice_t device, nvmlMarginTemperature_t *margin)
{
    double value;
    DEVICE(device);
    if (margin->version != nvmlMarginTemperature_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    nvmlReturn_t rc = state_number(slot, &value, "gpu.%d.margin", slot);
    if (rc == NVML_SUCCESS)
        margin->marginTemperature = (int)value;
    return rc;
}

nvmlReturn_t nvmlDeviceGetFanSpeed_v2(nvmlDevice_t device, unsigned int fan, unsigned int *speed)
{
    char name[32];
    DEVICE(device);
    snprintf(name, sizeof name, "fan.%u", fan);
    return narrow(speed, slot, name);
}
#endif

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization)
{
    nvmlReturn_t rc;
    DEVICE(device);
    if ((rc = narrow(&utilization->gpu, slot, "util.gpu")))
        return rc;
    return narrow(&utilization->memory, slot, "util.memory");
}

static nvmlReturn_t codec(int slot, const char *name, unsigned int *utilization, unsigned int *period)
{
    *period = 167000;
    return narrow(utilization, slot, name);
}

nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t device, unsigned int *utilization, unsigned int *period)
{
    DEVICE(device);
    return codec(slot, "util.encoder", utilization, period);
}

nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t device, unsigned int *utilization, unsigned int *period)
{
    DEVICE(device);
    return codec(slot, "util.decoder", utilization, period);
}

/* `memory = !3` fails the whole call; a missing part is ~0, as for what the driver does not know. */
static nvmlReturn_t memory_part(unsigned long long *out, int slot, const char *name)
{
    nvmlReturn_t rc = integer(out, slot, name);
    if (rc == NVML_ERROR_NOT_SUPPORTED) {
        *out = NO_VALUE;
        rc = NVML_SUCCESS;
    }
    return rc;
}

static nvmlReturn_t memory_of(int slot, unsigned long long parts[4])
{
    static const char *const names[] = {"memory.total", "memory.reserved", "memory.free", "memory.used"};
    char key[64], mine[32];
    int missing = 0;
    snprintf(key, sizeof key, "%s.memory", prefix(mine, slot));
    nvmlReturn_t rc = scripted("%s", key);
    if (rc)
        return rc;
    for (int i = 0; i < 4; i++) {
        if ((rc = memory_part(&parts[i], slot, names[i])))
            return rc;
        missing += parts[i] == NO_VALUE;
    }
    return missing == 4 ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    unsigned long long parts[4];
    nvmlReturn_t rc;
    DEVICE(device);
    if ((rc = memory_of(slot, parts)))
        return rc;
    memory->total = parts[0];
    memory->free = parts[2];
    memory->used = parts[3] + (parts[1] == NO_VALUE ? 0 : parts[1]); /* v1 counts what is reserved */
    return NVML_SUCCESS;
}

#ifndef FLAVOUR_OLD
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
    unsigned long long parts[4];
    nvmlReturn_t rc;
    DEVICE(device);
    if (memory->version != nvmlMemory_v2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if ((rc = memory_of(slot, parts)))
        return rc;
    memory->total = parts[0];
    memory->reserved = parts[1];
    memory->free = parts[2];
    memory->used = parts[3];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSramEccErrorStatus(nvmlDevice_t device, nvmlEccSramErrorStatus_t *status)
{
    DEVICE(device);
    if (status->version != nvmlEccSramErrorStatus_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    integer(&status->aggregateUncParity, slot, "ecc.sram.aggregate_parity");
    integer(&status->aggregateUncSecDed, slot, "ecc.sram.aggregate_secded");
    integer(&status->aggregateCor, slot, "ecc.sram.aggregate_corrected");
    integer(&status->volatileUncParity, slot, "ecc.sram.volatile_parity");
    integer(&status->volatileUncSecDed, slot, "ecc.sram.volatile_secded");
    integer(&status->volatileCor, slot, "ecc.sram.volatile_corrected");
    integer(&status->aggregateUncBucketL2, slot, "ecc.sram.l2");
    integer(&status->aggregateUncBucketSm, slot, "ecc.sram.sm");
    return narrow(&status->bThresholdExceeded, slot, "ecc.sram_threshold");
}

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int *corrected, unsigned int *uncorrected,
                                       unsigned int *pending, unsigned int *failure)
{
    nvmlReturn_t rc;
    DEVICE(device);
    if ((rc = pair(corrected, uncorrected, slot, "remapped.correctable", "remapped.uncorrectable")))
        return rc;
    return pair(pending, failure, slot, "remapped.pending", "remapped.failure");
}
#endif

nvmlReturn_t nvmlDeviceGetViolationStatus(nvmlDevice_t device, nvmlPerfPolicyType_t policy,
                                          nvmlViolationTime_t *violation)
{
    DEVICE(device);
    violation->referenceTime = state_now();
    if (policy == NVML_PERF_POLICY_POWER)
        return integer(&violation->violationTime, slot, "violation.power");
    if (policy == NVML_PERF_POLICY_THERMAL)
        return integer(&violation->violationTime, slot, "violation.thermal");
    return NVML_ERROR_NOT_SUPPORTED;
}

/* Really blocks as long as the real one, so that nobody gets used to it. */
nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, nvmlPcieUtilCounter_t counter, unsigned int *value)
{
    DEVICE(device);
    pause_ms(20);
    return narrow(value, slot, counter == NVML_PCIE_UTIL_TX_BYTES ? "pcie.tx_rate" : "pcie.rx_rate");
}

/* Five samples, 20 ms apart, of power (0) or GPU utilisation (1). */
nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, nvmlSamplingType_t type, unsigned long long last_seen,
                                  nvmlValueType_t *value_type, unsigned int *count, nvmlSample_t *samples)
{
    unsigned int value = 0, written = 0;
    nvmlReturn_t rc;
    DEVICE(device);
    if (type != NVML_TOTAL_POWER_SAMPLES && type != NVML_GPU_UTILIZATION_SAMPLES)
        return NVML_ERROR_NOT_SUPPORTED;
    if ((rc = narrow(&value, slot, type == NVML_TOTAL_POWER_SAMPLES ? "power" : "util.gpu")))
        return rc;
    *value_type = NVML_VALUE_TYPE_UNSIGNED_INT;
    if (!samples) {
        *count = 5;
        return NVML_SUCCESS;
    }
    unsigned long long now = state_now();
    for (int i = 4; i >= 0 && written < *count; i--) {
        unsigned long long at = now - 20000ull * (unsigned long long)i;
        if (at <= last_seen)
            continue;
        samples[written].timeStamp = at;
        samples[written++].sampleValue.uiVal = value;
    }
    *count = written;
    return written ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}
