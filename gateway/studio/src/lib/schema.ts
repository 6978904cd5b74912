// As much of JSON schema as settings are written in, and what a form needs of it.

export interface Property {
  readonly type?: string;
  readonly title?: string;
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Property[];
  readonly $ref?: string;
  readonly items?: Property;
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly "x-env"?: string;
  readonly "x-effective"?: "now" | "restart";
}

export interface Schema extends Property {
  readonly properties?: Readonly<Record<string, Property>>;
  readonly $defs?: Readonly<Record<string, Schema>>;
}

export type Kind = "text" | "number" | "integer" | "flag" | "choice" | "names" | "json";

/** The schema of a value that may also be absent. */
export function inner(property: Property): Property {
  const one = property.anyOf?.find((option) => option.type !== "null");
  return one ? { ...property, ...one } : property;
}

export function kindOf(property: Property): Kind {
  const real = inner(property);
  if (real.enum || real.const !== undefined) return "choice";
  if (real.type === "array") return real.items?.type === "string" ? "names" : "json";
  if (real.type === "integer") return "integer";
  if (real.type === "number") return "number";
  if (real.type === "boolean") return "flag";
  return real.type === "string" ? "text" : "json";
}

export function boundsOf(property: Property): string {
  const real = inner(property);
  const show = (value: number) => value.toLocaleString("en", { maximumFractionDigits: 6 });
  const low = real.minimum ?? real.exclusiveMinimum;
  const high = real.maximum ?? real.exclusiveMaximum;
  const from = low === undefined ? "" : `${real.exclusiveMinimum === undefined ? "" : "above "}${show(low)}`;
  const to = high === undefined ? "" : `${real.exclusiveMaximum === undefined ? "" : "below "}${show(high)}`;
  if (from && to) return `${from} to ${to}`;
  return from ? `${from} or more` : to && `up to ${to}`;
}

/** What a person typed as a value; throws Error with what is wrong. Empty is undefined. */
export function valueOf(property: Property, typed: string): unknown {
  const text = typed.trim();
  if (!text) return undefined;
  switch (kindOf(property)) {
    case "integer":
    case "number": {
      const value = Number(text);
      if (!Number.isFinite(value)) throw new Error(`${text} is not a number`);
      return value;
    }
    case "flag":
      return text === "true";
    case "names":
      return text.split(",").map((name) => name.trim()).filter(Boolean);
    case "json":
      return JSON.parse(text);
    default:
      return text;
  }
}

/** A value as a person would type it. */
export function typedOf(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.every((one) => typeof one === "string") ? value.join(", ") : JSON.stringify(value, null, 2);
  return typeof value === "object" ? JSON.stringify(value, null, 2) : String(value);
}
