// SPDX-License-Identifier: MIT
// Signing the kernel modules, which Secure Boot wants.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

import { BlkfilterError } from './errors.js';
import { needHeaders, status, type ModuleStatus } from './modules.js';
import { check } from './options.js';
import { moduleTool, output } from './tools.js';

/** A key that the machine trusts. */
export interface SigningKey {
  /** The file of the private key, in PEM. */
  key: string;
  /** The file of its certificate, in DER or PEM. */
  cert: string;
}

const file = z.string().min(1).refine(existsSync, 'there is no such file');
const schema = z.strictObject({ key: file, cert: file });

/** The files of a module: the one that is installed, and the one that was built. */
async function filesOf({ name, installed, built }: ModuleStatus): Promise<string[]> {
  const found = installed ? await output('modinfo', '-n', name) : undefined;
  return [found, built].filter((path) => typeof path === 'string');
}

/**
 * Signs the modules, the installed ones and those that were built.
 * @throws {BlkfilterError} `EMODULE`; `ERR_BLKFILTER_ARGUMENT`
 */
export async function sign(options: SigningKey): Promise<ModuleStatus[]> {
  const { key, cert } = check(schema, options, 'sign');
  const signFile = join(needHeaders(), 'scripts/sign-file');
  const files = (await Promise.all((await status()).map(filesOf))).flat();
  if (files.length === 0) {
    const hint = 'build them with `blkfilter module build` or `blkfilter module install`';
    throw new BlkfilterError({ code: 'EMODULE', reason: 'there are no modules to sign', hint });
  }
  for (const path of files) {
    if (!path.endsWith('.ko')) {
      const hint = 'let DKMS sign what it compresses: set mok_signing_key and mok_certificate in /etc/dkms/framework.conf';
      throw new BlkfilterError({ code: 'EMODULE', reason: 'it is compressed, and cannot be signed any more', hint, path });
    }
    // Every kernel that checks signatures has this algorithm.
    await moduleTool(`sign ${path}`, signFile, 'sha256', key, cert, path);
  }
  return status();
}
