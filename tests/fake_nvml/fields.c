/* nvmlDeviceGetFieldValues: many values in one call, each with its own return code. */
#define _GNU_SOURCE
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL_LINKS 0xFFFFFFFFu

struct field {
    unsigned int id;
    nvmlValueType_t type;
    const char *name;
};

#define UINT NVML_VALUE_TYPE_UNSIGNED_INT
#define ULL NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
#define INT NVML_VALUE_TYPE_SIGNED_INT

/* Fields that share a key with a call; `gpu.N.field.ID[.SCOPE]` goes first for every field. */
static const struct field fields[] = {
    {NVML_FI_DEV_ECC_CURRENT, UINT, "ecc.mode"},
    {NVML_FI_DEV_ECC_PENDING, UINT, "ecc.mode_pending"},
    {NVML_FI_DEV_ECC_SBE_VOL_TOTAL, ULL, "ecc.corrected_volatile"},
    {NVML_FI_DEV_ECC_DBE_VOL_TOTAL, ULL, "ecc.uncorrected_volatile"},
    {NVML_FI_DEV_ECC_SBE_AGG_TOTAL, ULL, "ecc.corrected_aggregate"},
    {NVML_FI_DEV_ECC_DBE_AGG_TOTAL, ULL, "ecc.uncorrected_aggregate"},
    {NVML_FI_DEV_ECC_SBE_VOL_L2, ULL, "ecc.l2.corrected_volatile"},
    {NVML_FI_DEV_ECC_DBE_VOL_L2, ULL, "ecc.l2.uncorrected_volatile"},
    {NVML_FI_DEV_ECC_SBE_VOL_DEV, ULL, "ecc.dram.corrected_volatile"},
    {NVML_FI_DEV_ECC_DBE_VOL_DEV, ULL, "ecc.dram.uncorrected_volatile"},
    {NVML_FI_DEV_ECC_SBE_AGG_DEV, ULL, "ecc.dram.corrected_aggregate"},
    {NVML_FI_DEV_ECC_DBE_AGG_DEV, ULL, "ecc.dram.uncorrected_aggregate"},
    {NVML_FI_DEV_RETIRED_SBE, UINT, "retired.single_bit"},
    {NVML_FI_DEV_RETIRED_DBE, UINT, "retired.double_bit"},
    {NVML_FI_DEV_RETIRED_PENDING, UINT, "retired.pending"},
    {NVML_FI_DEV_PERF_POLICY_POWER, ULL, "violation.power"},
    {NVML_FI_DEV_PERF_POLICY_THERMAL, ULL, "violation.thermal"},
    {NVML_FI_DEV_MEMORY_TEMP, UINT, "memory_temp"},
    {NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, ULL, "energy"},
    {NVML_FI_DEV_NVLINK_LINK_COUNT, UINT, "nvlink.count"},
    {NVML_FI_DEV_PCIE_REPLAY_COUNTER, UINT, "pcie.replay"},
#ifndef FLAVOUR_OLD
    {NVML_FI_DEV_REMAPPED_COR, UINT, "remapped.correctable"},
    {NVML_FI_DEV_REMAPPED_UNC, UINT, "remapped.uncorrectable"},
    {NVML_FI_DEV_REMAPPED_PENDING, UINT, "remapped.pending"},
    {NVML_FI_DEV_REMAPPED_FAILURE, UINT, "remapped.failure"},
    {NVML_FI_DEV_POWER_AVERAGE, UINT, "power_average"},
    {NVML_FI_DEV_POWER_INSTANT, UINT, "power"},
    {NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT, INT, "tlimit.shutdown"},
    {NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT, INT, "tlimit.slowdown"},
    {NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT, INT, "tlimit.memory_max"},
    {NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT, INT, "tlimit.gpu_max"},
    {NVML_FI_DEV_PCIE_COUNT_TX_BYTES, ULL, "pcie.tx_bytes"},
    {NVML_FI_DEV_PCIE_COUNT_RX_BYTES, ULL, "pcie.rx_bytes"},
    {NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, UINT, "recovery_action"},
    {NVML_FI_DEV_PERF_POLICY_SYNC_BOOST, ULL, "violation.sync_boost"},
    {NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN, ULL, "violation.sw_thermal"},
    {NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN, ULL, "violation.hw_thermal"},
    {NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN, ULL, "violation.hw_power_brake"},
#endif
};

/* NVLink fields by link; ALL_LINKS is the sum that the throughput counters offer. */
static const struct field link_fields[] = {
#ifndef FLAVOUR_OLD
    {NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, ULL, "tx_kib"},
    {NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, ULL, "rx_kib"},
    {NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY, ULL, "replay"},
    {NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY, ULL, "recovery"},
    {NVML_FI_DEV_NVLINK_ERROR_DL_CRC, ULL, "crc"},
    {NVML_FI_DEV_NVLINK_GET_STATE, UINT, "state"},
    {NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS, ULL, "recovery_events"},
    {NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES, ULL, "tx_bytes"},
    {NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES, ULL, "rx_bytes"},
    {NVML_FI_DEV_NVLINK_GET_SPEED, UINT, "speed_mbps"},
#endif
    {0, UINT, NULL},
};

static void set_value(nvmlFieldValue_t *field, nvmlValueType_t type, double number, unsigned long long exact)
{
    field->valueType = type;
    memset(&field->value, 0xA5, sizeof field->value); /* reading the wrong member shows */
    switch (type) {
    case NVML_VALUE_TYPE_DOUBLE: field->value.dVal = number; break;
    case NVML_VALUE_TYPE_UNSIGNED_INT: field->value.uiVal = (unsigned int)exact; break;
    case NVML_VALUE_TYPE_UNSIGNED_LONG: field->value.ulVal = (unsigned long)exact; break;
    case NVML_VALUE_TYPE_SIGNED_LONG_LONG: field->value.sllVal = (long long)exact; break;
    case NVML_VALUE_TYPE_SIGNED_INT: field->value.siVal = (int)(long long)exact; break;
    case NVML_VALUE_TYPE_UNSIGNED_SHORT: field->value.usVal = (unsigned short)exact; break;
    default: field->value.ullVal = exact; break;
    }
}

/* `gpu.0.field.82 = 61`, `gpu.0.field.186.1 = 900000` (a scope), `gpu.0.field.82 = ull:4294967295`. */
static int direct_field(int slot, nvmlFieldValue_t *field, nvmlValueType_t type)
{
    static const char *const types[] = {"d:", "u:", "ul:", "ull:", "sll:", "i:", "us:"};
    char value[128], *number = value;
    int found = 0;
    if (field->scopeId)
        found = state_text(value, sizeof value, "gpu.%d.field.%u.%u", slot, field->fieldId, field->scopeId);
    else
        found = state_text(value, sizeof value, "gpu.%d.field.%u", slot, field->fieldId);
    if (!found)
        return 0;
    if (value[0] == '!') {
        field->nvmlReturn = (nvmlReturn_t)atoi(value + 1);
        return 1;
    }
    for (unsigned int i = 0; i < sizeof types / sizeof *types; i++)
        if (strncmp(value, types[i], strlen(types[i])) == 0) {
            type = (nvmlValueType_t)i;
            number = value + strlen(types[i]);
        }
    unsigned long long exact =
        *number == '-' ? (unsigned long long)strtoll(number, NULL, 0) : strtoull(number, NULL, 0);
    set_value(field, type, strtod(number, NULL), exact);
    field->nvmlReturn = NVML_SUCCESS;
    return 1;
}

static void named_field(int slot, nvmlFieldValue_t *field, nvmlValueType_t type, const char *key)
{
    double value;
    unsigned long long exact;
    field->nvmlReturn = state_number(slot, &value, "gpu.%d.%s", slot, key);
    if (field->nvmlReturn == NVML_SUCCESS && state_integer(slot, &exact, "gpu.%d.%s", slot, key) == NVML_SUCCESS)
        set_value(field, type, value, exact);
}

static void read_field(int slot, nvmlFieldValue_t *field)
{
    char key[64];
    field->nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
    for (const struct field *f = link_fields; f->name; f++)
        if (f->id == field->fieldId && !direct_field(slot, field, f->type)) {
            if (field->scopeId == ALL_LINKS)
                snprintf(key, sizeof key, "nvlink.%s", f->name);
            else
                snprintf(key, sizeof key, "nvlink.%u.%s", field->scopeId, f->name);
            named_field(slot, field, f->type, key);
            return;
        } else if (f->id == field->fieldId)
            return;
    for (unsigned int i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].id == field->fieldId) {
            if (!direct_field(slot, field, fields[i].type) && field->scopeId == 0)
                named_field(slot, field, fields[i].type, fields[i].name);
            return;
        }
    direct_field(slot, field, ULL);
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values)
{
    char list[900] = "";
    int slot, used = 0;
    for (int i = 0; i < count && used < (int)sizeof list - 32; i++)
        used += snprintf(list + used, sizeof list - (size_t)used,
                         values[i].scopeId == 0 ? "%s%u" : values[i].scopeId == ALL_LINKS ? "%s%u:*" : "%s%u:%u",
                         i ? "," : "", values[i].fieldId, values[i].scopeId);
    nvmlReturn_t rc = enter_device(__func__, device, list, &slot);
    if (rc)
        return rc;
    if (count < 1)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (is_mig(slot))
        return NVML_ERROR_NOT_SUPPORTED;
    for (int i = 0; i < count; i++) {
        values[i].timestamp = (long long)state_now();
        values[i].latencyUsec = 1;
        read_field(slot, &values[i]);
    }
    return NVML_SUCCESS;
}
