// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands that pass by the bios: which of them may change what a disk holds.
 *
 * User space sends them (SG_IO, /dev/sg*, /dev/bsg/..., NVMe's and MMC's ioctls, io_uring),
 * and so does the kernel itself: it looks at new disks, asks for the medium, flushes
 * caches, spins disks up and down. All come to blk_execute_rq(). What is listed here only
 * asks, or changes nothing that a read would show; everything else counts as a change:
 * data may come along or not (FORMAT UNIT has none), and vendors have commands of their own.
 *
 * A stacked device forwards an ioctl to a device below, to whose queue the command comes.
 * The filters of the one that was opened, and of what lies between, hear of it by the
 * ioctl. Nobody knows what lies between, so all stacked devices that have a filter do.
 */
#include <linux/ata.h>
#include <linux/blk-mq.h>
#include <linux/cdrom.h>
#include <linux/compat.h>
#include <linux/fd.h>
#include <linux/fs.h>
#include <linux/hdreg.h>
#include <linux/loop.h>
#include <linux/nvme.h>
#include <linux/nvme_ioctl.h>
#include <linux/uaccess.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_ioctl.h>
#include <scsi/scsi_proto.h>
#include <scsi/sg.h>

#include "passthrough.h"
#include "scsi.h"
#include "stack.h"
#include "walk.h"

/* ---- ATA, within SCSI or an ioctl of old ------------------------------------ */

/* Where the first word of a command's data is not known. */
#define NO_WORD	0xffff

/*
 * What is written to these logs are commands. smartctl sends some: a selective self-test,
 * and questions about times and temperatures through the SCT log. "Write same" uses the SCT log, too.
 */
static bool notrace log_changes(u8 log, u16 first_word)
{
	if (log == 0xe0)
		return first_word < 3 || first_word > 5;
	return log != 0x09;
}

static bool notrace ata_changes(u8 command, u8 feature, u8 log, u16 first_word)
{
	switch (command) {
	case ATA_CMD_NOP:
	case ATA_CMD_REQ_SENSE_DATA:
	case ATA_CMD_PIO_READ:
	case ATA_CMD_PIO_READ_EXT:
	case ATA_CMD_READ:
	case ATA_CMD_READ_EXT:
	case ATA_CMD_READ_MULTI:
	case ATA_CMD_READ_MULTI_EXT:
	case ATA_CMD_READ_NATIVE_MAX:
	case ATA_CMD_READ_NATIVE_MAX_EXT:
	case ATA_CMD_READ_LOG_EXT:
	case ATA_CMD_READ_LOG_DMA_EXT:
	case ATA_CMD_VERIFY:
	case ATA_CMD_VERIFY_EXT:
	case ATA_CMD_TRUSTED_RCV:
	case ATA_CMD_TRUSTED_RCV_DMA:
	case ATA_CMD_EDD:
	case 0x94 ... 0x99: /* the next seven but SET_FEATURES, as they once were */
	case ATA_CMD_STANDBYNOW1:
	case ATA_CMD_IDLEIMMEDIATE:
	case ATA_CMD_STANDBY:
	case ATA_CMD_IDLE:
	case ATA_CMD_CHK_POWER:
	case ATA_CMD_SLEEP:
	case ATA_CMD_SET_FEATURES:
	case ATA_CMD_FLUSH:
	case ATA_CMD_FLUSH_EXT:
	case ATA_CMD_ID_ATA:
	case ATA_CMD_ID_ATAPI:
	case ATA_CMD_SEC_FREEZE_LOCK:
		return false;
	case ATA_CMD_SMART:
		if (feature == 0xd6)
			return log_changes(log, first_word);
		return feature < ATA_SMART_READ_VALUES || feature > 0xdb;
	case ATA_CMD_WRITE_LOG_EXT:
	case ATA_CMD_WRITE_LOG_DMA_EXT:
		return log_changes(log, first_word);
	default:
		return true;
	}
}

/* ---- SCSI --------------------------------------------------------------- */

/* Of optical drives only: some of these opcodes erase disks. */
static bool notrace optical_changes(u8 opcode)
{
	switch (opcode) {
	case GPCMD_READ_FORMAT_CAPACITIES:
	case GPCMD_READ_SUBCHANNEL:
	case GPCMD_READ_TOC_PMA_ATIP:
	case GPCMD_GET_CONFIGURATION:
	case GPCMD_GET_EVENT_STATUS_NOTIFICATION:
	case GPCMD_READ_DISC_INFO:
	case GPCMD_READ_TRACK_RZONE_INFO:
	case GPCMD_READ_BUFFER_CAPACITY:
	case GPCMD_REPORT_KEY:
	case GPCMD_GET_PERFORMANCE:
	case GPCMD_READ_DVD_STRUCTURE:
	case GPCMD_READ_CD_MSF:
	case GPCMD_SET_SPEED:
	case GPCMD_MECHANISM_STATUS:
	case GPCMD_READ_CD:
		return false;
	default:
		return true;
	}
}

/* Those whose opcode alone does not tell. */
static bool notrace service_changes(const u8 *cdb, u16 first_word)
{
	u8 action = cdb[1] & 0x1f;

	switch (cdb[0]) {
	case SEND_DIAGNOSTIC:
		/* A self-test, without parameters, or leave to touch the medium. */
		return (cdb[1] & 0x3) || cdb[3] || cdb[4];
	case SERVICE_ACTION_IN_16:
		/* From READ CAPACITY(16) to REPORT REFERRALS, two reports. Others remove parts. */
		return (action < SAI_READ_CAPACITY_16 || action > SAI_REPORT_REFERRALS) &&
		       action != 0x16 && action != 0x17;
	case MAINTENANCE_OUT:
		return action != MO_SET_IDENTIFYING_INFORMATION && action != MO_SET_TARGET_PGS &&
		       action != MO_CHANGE_ALIASES && action != MO_SET_PRIORITY &&
		       action != MO_SET_TIMESTAMP;
	case ZBC_IN:
		/* Report zones, realms and domains, and ask about activating these. */
		return action != 0x00 && action != 0x06 && action != 0x07 && action != 0x09;
	case ATA_12:
		return ata_changes(cdb[9], cdb[3], cdb[5], first_word);
	case ATA_16:
		return ata_changes(cdb[14], cdb[4], cdb[8], first_word);
	default:
		return true;
	}
}

static bool notrace scsi_changes(u8 type, const u8 *cdb, u16 first_word)
{
	bool optical = type == TYPE_ROM;

	if (!optical && type != TYPE_DISK && type != TYPE_RBC && type != TYPE_ZBC &&
	    type != TYPE_MOD)
		return true;

	switch (cdb[0]) {
	case TEST_UNIT_READY:
	case REZERO_UNIT:
	case REQUEST_SENSE:
	case READ_6:
	case SEEK_6:
	case INQUIRY:
	case 0x16: /* RESERVE */
	case 0x17: /* RELEASE */
	case MODE_SENSE:
	case START_STOP:
	case RECEIVE_DIAGNOSTIC:
	case ALLOW_MEDIUM_REMOVAL:
	case READ_CAPACITY:
	case READ_10:
	case SEEK_10:
	case VERIFY:
	case PRE_FETCH:
	case SYNCHRONIZE_CACHE:
	case READ_DEFECT_DATA:
	case READ_BUFFER:
	case READ_LONG:
	case LOG_SELECT:
	case LOG_SENSE:
	case RESERVE_10:
	case RELEASE_10:
	case MODE_SENSE_10:
	case PERSISTENT_RESERVE_IN:
	case PERSISTENT_RESERVE_OUT:
	case RECEIVE_COPY_RESULTS:
	case ACCESS_CONTROL_IN:
	case READ_16:
	case READ_ATTRIBUTE:
	case VERIFY_16:
	case 0x90: /* PRE-FETCH(16) */
	case SYNCHRONIZE_CACHE_16:
	case REPORT_LUNS:
	case SECURITY_PROTOCOL_IN:
	case MAINTENANCE_IN:
	case READ_12:
	case VERIFY_12:
	case 0xb7: /* READ DEFECT DATA(12) */
		return false;
	default:
		return optical ? optical_changes(cdb[0]) : service_changes(cdb, first_word);
	}
}

/* ---- NVMe --------------------------------------------------------------- */

/* A command to a namespace. */
static bool notrace nvme_changes(u8 opcode)
{
	switch (opcode) {
	case nvme_cmd_flush:
	case nvme_cmd_read:
	case nvme_cmd_compare:
	case nvme_cmd_verify:
	case nvme_cmd_resv_register:
	case nvme_cmd_resv_report:
	case nvme_cmd_resv_acquire:
	case nvme_cmd_resv_release:
	case 0x12: /* I/O management receive */
	case 0x18: /* cancel */
	case nvme_cmd_zone_mgmt_recv:
		return false;
	default:
		return true;
	}
}

/* A command to a controller: whatever its driver sends, and what only asks. */
static bool notrace nvme_admin_changes(u8 opcode)
{
	switch (opcode) {
	case nvme_admin_delete_sq:
	case nvme_admin_create_sq:
	case nvme_admin_get_log_page:
	case nvme_admin_delete_cq:
	case nvme_admin_create_cq:
	case nvme_admin_identify:
	case nvme_admin_abort_cmd:
	case nvme_admin_set_features:
	case nvme_admin_get_features:
	case nvme_admin_async_event:
	case nvme_admin_dev_self_test:
	case nvme_admin_keep_alive:
	case nvme_admin_directive_send:
	case nvme_admin_directive_recv:
	case nvme_admin_nvme_mi_recv:
	case nvme_admin_dbbuf:
	case nvme_fabrics_command:
	case nvme_admin_security_recv:
	case nvme_admin_get_lba_status:
		return false;
	default:
		return true;
	}
}

/* A disk with one path: its parent is its controller. */
static bool notrace is_nvme(struct gendisk *disk)
{
	struct device *dev = disk_to_dev(disk)->parent;

	return dev && dev->class && !strcmp(dev->class->name, "nvme");
}

/* The first member of struct nvme_request, in 6.1, 6.12 and 7.2, points to the command. */
static u8 notrace nvme_opcode(struct request *rq)
{
	const struct nvme_command **cmd = blk_mq_rq_to_pdu(rq);

	return READ_ONCE(*cmd)->common.opcode;
}

/*
 * The queues of an NVMe controller that no disk has are known by the function that they
 * share with those of its disks. A namespace may be a disk of several controllers, and
 * sanitizing concerns all that there are, so all disks of this kind of controller are meant.
 */
static bool notrace same_driver(struct gendisk *disk, const void *queue)
{
	const struct request_queue *q = queue;

	return is_nvme(disk) && queue_is_mq(disk->queue) &&
	       disk->queue->mq_ops->queue_rq == q->mq_ops->queue_rq;
}

/* ---- Requests ------------------------------------------------------------ */

static u16 notrace word_of(const u8 *data)
{
	return data[0] | data[1] << 8;
}

/* The first word that a request carries to its device. */
static u16 notrace request_word(struct request *rq)
{
	struct bio_vec vec;
	u16 word;
	u8 *data;

	if (req_op(rq) != REQ_OP_DRV_OUT || !rq->bio)
		return NO_WORD;
	vec = bio_iter_iovec(rq->bio, rq->bio->bi_iter);
	if (vec.bv_len < sizeof(word))
		return NO_WORD;
	data = bvec_kmap_local(&vec);
	word = word_of(data);
	kunmap_local(data);
	return word;
}

static bool notrace on_bus(struct gendisk *disk, const char *name)
{
	struct device *dev = disk_to_dev(disk)->parent;

	return dev && dev->bus && !strcmp(dev->bus->name, name);
}

/* MMC's commands are a list in its module's own struct, of which it tells the first's direction. */
static bool notrace request_changes(struct gendisk *disk, struct request *rq)
{
	struct scsi_device *scsi = scsi_device_of(disk);

	if (scsi)
		return scsi_changes(scsi->type, ((struct scsi_cmnd *)blk_mq_rq_to_pdu(rq))->cmnd,
				    request_word(rq));
	if (is_nvme(disk))
		return nvme_changes(nvme_opcode(rq));
	/* Their drivers alone send these: a virtio disk's serial number, ublk's zones. */
	if (on_bus(disk, "virtio") || strstarts(disk->disk_name, "ublkb"))
		return req_op(rq) == REQ_OP_DRV_OUT;
	return true;
}

/*
 * passthrough_request() - a request that is no bio is about to be started
 *
 * With preemption disabled. Its disk is only looked up, and may be on its way out: as long
 * as a filter of it is in the table it is there, and so is its parent.
 */
void notrace passthrough_request(struct request *rq)
{
	struct gendisk *disk = READ_ONCE(rq->q->disk);

	if (!blk_rq_is_passthrough(rq))
		return;
	if (disk) {
		if (walk_has(disk) && request_changes(disk, rq))
			walk_unseen(disk, BLKFILTER_UNSEEN_REQUEST);
	} else if (queue_is_mq(rq->q) && walk_has_where(same_driver, rq->q) &&
		   nvme_admin_changes(nvme_opcode(rq))) {
		walk_unseen_where(same_driver, rq->q, BLKFILTER_UNSEEN_REQUEST);
	}
}

/* ---- Ioctls of stacked devices --------------------------------------------- */

/* Those of device mapper and bcache forward what they do not know. */
static bool notrace is_stacked(struct gendisk *disk, const void *unused)
{
	return !queue_is_mq(disk->queue) || strstarts(disk->disk_name, "dm-");
}

/* What cannot be read at once, for it is not in memory, counts as a change. */
static bool notrace sg_io_changes(const void __user *arg)
{
	struct sg_io_hdr header;
	u8 cdb[32] = {}, data[2];
	u16 word = NO_WORD;

	if (in_compat_syscall() || copy_from_user_nofault(&header, arg, sizeof(header)) ||
	    header.cmd_len > sizeof(cdb) ||
	    copy_from_user_nofault(cdb, header.cmdp, header.cmd_len))
		return true;
	if (header.dxfer_len >= sizeof(data) && !header.iovec_count &&
	    !copy_from_user_nofault(data, header.dxferp, sizeof(data)))
		word = word_of(data);
	return scsi_changes(TYPE_DISK, cdb, word);
}

/* Those that may change something have the command in their first byte. */
static bool notrace opcode_changes(const void __user *arg, bool (*changes)(u8 opcode))
{
	u8 opcode;

	return copy_from_user_nofault(&opcode, arg, sizeof(opcode)) || changes(opcode);
}

static bool notrace hd_changes(u8 command)
{
	return ata_changes(command, 0, 0, NO_WORD);
}

static bool notrace ioctl_changes(unsigned int cmd, const void __user *arg)
{
	switch (cmd) {
	case SG_IO:
		return sg_io_changes(arg);
	case HDIO_DRIVE_CMD:
		return opcode_changes(arg, hd_changes);
	case NVME_IOCTL_ADMIN_CMD:
	case NVME_IOCTL_ADMIN64_CMD:
		return opcode_changes(arg, nvme_admin_changes);
	case NVME_IOCTL_SUBMIT_IO:
	case NVME_IOCTL_IO_CMD:
	case NVME_IOCTL_IO64_CMD:
	case NVME_IOCTL_IO64_CMD_VEC:
		return opcode_changes(arg, nvme_changes);
	case NVME_IOCTL_ID:
	case NVME_IOCTL_RESET:
	case NVME_IOCTL_SUBSYS_RESET:
	case NVME_IOCTL_RESCAN:
	case LOOP_GET_STATUS:
	case LOOP_GET_STATUS64:
	case FDGETFDCSTAT: /* blkid asks each device */
	case SCSI_IOCTL_TEST_UNIT_READY:
	case SCSI_IOCTL_START_UNIT:
	case SCSI_IOCTL_STOP_UNIT:
	case HDIO_GETGEO ... HDIO_GET_BUSSTATE:
	case HDIO_SET_MULTCOUNT ... 0x032f:
		return false;
	case CDROM_SEND_PACKET:
		return true;
	}
	switch (_IOC_TYPE(cmd)) {
	case 'p': /* the block layer's reservations; from 220 on Opal's, by which disks are erased */
		return _IOC_NR(cmd) >= 220 && !(_IOC_NR(cmd) >= 236 && _IOC_NR(cmd) <= 239);
	case 0x12: /* the block layer's own, which no driver gets */
	case 'T': /* is this a terminal? */
	case 'f': /* a file system? */
	case 'X':
	case 0x22: /* SG_*, but for SG_IO */
	case 0x53: /* CDROM_* and SCSI_IOCTL_* */
	case 9: /* md: about its array */
	case 0xfd: /* device mapper */
		return false;
	default:
		return true;
	}
}

/* passthrough_ioctl() - an ioctl of a block device's node begins */
void notrace passthrough_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct gendisk *disk = I_BDEV(file->f_mapping->host)->bd_disk;
	const void __user *argp = in_compat_syscall() ? compat_ptr(arg) : (void __user *)arg;

	if (!is_stacked(disk, NULL) || !ioctl_changes(cmd, argp))
		return;
	preempt_disable_notrace();
	walk_unseen_where(is_stacked, NULL, BLKFILTER_UNSEEN_REQUEST);
	preempt_enable_notrace();
}
