// Stat panels: the last value of every field, large, with its name and a sparkline where the panel wants them.
import { getFieldDisplayValues, VizOrientation, type FieldDisplay } from "@grafana/data";
import { BigValue, VizRepeater } from "@grafana/ui";
import { filled } from "../dashboard";
import type { Content } from "./box";

export function Numbers({ one, width, height, variables, theme }: Content) {
  const { options, fieldConfig } = one.panel;
  const values = (): FieldDisplay[] =>
    getFieldDisplayValues({
      fieldConfig,
      reduceOptions: options.reduceOptions,
      replaceVariables: (text) => filled(text, variables),
      theme,
      data: one.frames,
      sparkline: options.graphMode !== "none",
      timeZone: "utc",
    });
  return (
    <VizRepeater<FieldDisplay>
      source={one.frames}
      getValues={values}
      width={width}
      height={height}
      itemSpacing={3}
      renderCounter={0}
      orientation={VizOrientation.Auto}
      renderValue={({ value, width: itemWidth, height: itemHeight, count }) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={value.sparkline}
          colorMode={options.colorMode}
          graphMode={options.graphMode}
          justifyMode={options.justifyMode}
          textMode={options.textMode}
          width={itemWidth}
          height={itemHeight}
          theme={theme}
        />
      )}
    />
  );
}
